"""Users without a home, or with one that they may not look into or write to, as in many containers."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from faults import as_unknown_user

from zodi.engines.bundle import cache_directory
from zodi.errors import SettingsError

ZODI = (sys.executable, "-m", "zodi.cli")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == tmp_path / ".cache/zodi"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_directory() == tmp_path / "caches/zodi"


def test_without_a_home(monkeypatch, tmp_path):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/zodi"
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(SettingsError, match=r"no cache folder .*: set XDG_CACHE_HOME to one, or name .* --bundle$"):
        cache_directory()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "zodi"


@pytest.mark.parametrize("home", ["none", "closed"])
def test_commands_of_an_unknown_user(tiny_model, street, tmp_path, home):
    closed = tmp_path / "home"
    closed.mkdir(mode=0o000)
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME")}
    if home == "closed":
        environment["HOME"] = str(closed)

    def zodi(*arguments: object) -> tuple[int, str]:
        done = subprocess.run(as_unknown_user(*ZODI, *arguments), capture_output=True, text=True, env=environment)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    run = ("transfer", "--root", street, "--model", tiny_model, "--steps", "4", "-o")
    assert zodi("--help")[0] == 0
    assert zodi(*run, tmp_path / "torch")[0] == 0
    status, shown = zodi(*run, tmp_path / "auto", "--engine", "auto")
    assert status == 0 and "there is no cache folder for the files of engines" in shown
    assert "engine: torch, the fastest exact one without a bundle" in shown
    for command in ((*run, tmp_path / "ort", "--engine", "ort"), ("export-engines", "--model", tiny_model)):
        status, shown = zodi(*command)
        assert status == 1 and "zodi: there is no cache folder for the files of engines" in shown
