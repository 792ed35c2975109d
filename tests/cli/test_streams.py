"""Standard output and error that break while a command runs: the work goes on, the exit status is the command's."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import make_street

from zodi.cli.streams import steady_streams
from zodi.transfer.status import verify_transfer

ZODI = (sys.executable, "-m", "zodi.cli")
CLOSED = {"stdout closed": ">&-", "stderr closed": "2>&-", "all closed": "<&- >&- 2>&-"}
BROKEN = [*CLOSED, "stdout full", "stderr full", "stdout's reader gone", "stderr's reader gone", "terminal gone"]


def run(how: str, arguments: Sequence[object]) -> tuple[int, str, str]:
    """Run a command with a stream broken; its exit status, output and messages as far as they can be seen."""
    command = [*ZODI, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if how in CLOSED:
        command = ["sh", "-c", f'exec "$@" {CLOSED[how]}', "sh", *command]
    elif how == "terminal gone":
        return in_terminal(command)
    elif how != "whole":
        name, _, fault = how.partition(" ")
        name = name.removesuffix("'s")
        if fault == "full":
            streams[name] = os.open("/dev/full", os.O_WRONLY)
        else:
            reader, streams[name] = os.pipe()
            os.close(reader)
    process = subprocess.Popen(command, text=True, **streams)
    for descriptor in streams.values():
        if descriptor >= 0:
            os.close(descriptor)
    out, err = process.communicate()
    return process.returncode, out or "", err or ""


def in_terminal(command: list[str]) -> tuple[int, str, str]:
    """Run in a terminal that is closed after the first words, by a shell that ignores SIGHUP, as nohup does."""
    master, slave = pty.openpty()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(slave)
    shown = os.read(master, 100).decode(errors="replace")
    os.close(master)
    return process.wait(), "", shown


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    bad = make_street(folder / "bad")
    (bad / "labels/a/0.png").write_bytes(b"no image")
    return {"good": make_street(folder / "good"), "bad": bad, "nowhere": folder / "nowhere"}


PRINTING = {  # what prints much or little, and its exit status
    "help": (["transfer", "--help"], 0),
    "version": (["--version"], 0),
    "a data set": (["data", "check", "--root", "{good}"], 0),
    "a data set as JSON": (["data", "check", "--root", "{good}", "--json", "-"], 0),
    "a data set with a problem": (["data", "check", "--root", "{bad}"], 1),
    "an error": (["transfer", "status", "{nowhere}"], 1),
    "wrong usage": (["transfer", "--nonsense"], 2),
}


@pytest.mark.parametrize("case", PRINTING)
@pytest.mark.parametrize("how", ["whole", *BROKEN])
def test_a_command_that_only_prints_ends_with_its_status(data, how, case):
    arguments, expected = PRINTING[case]
    if how == "stdout full" and "--json" in arguments:
        expected = 1  # whoever asked for JSON has to know that it is not there
    status, out, err = run(how, [argument.format(**data) for argument in arguments])
    assert status == expected, err
    assert "Traceback" not in out + err and "Exception ignored" not in out + err
    if how.endswith("gone"):
        assert "written" not in err
    if how == "stdout full" and expected == 0:
        assert err.splitlines()[-1].startswith("zodi: standard output: cannot be written (No space left on device)")


def test_json_on_a_full_disk_is_an_error(data):
    status, _, err = run("stdout full", ["data", "check", "--root", data["good"], "--json", "-"])
    assert (status, err.splitlines()) == (1, [err.strip()])
    assert err.startswith("zodi: standard output: cannot be written (No space left on device): free some space")


@pytest.mark.parametrize("how", BROKEN)
def test_a_run_goes_on_to_its_end(tiny_model, data, tmp_path, how):
    output = tmp_path / "out"
    command = ("transfer", "--root", data["good"], "--model", tiny_model, "-o", output, "--steps", "4", "--batch", "1")
    status, out, err = run(how, command)
    assert status == 0, err
    assert "Traceback" not in out + err
    found = verify_transfer(output)
    assert (found.files, found.problems) == (3, [])


def test_a_run_that_fails_says_so_whoever_listens(tiny_model, data, tmp_path):
    for how in ("stdout's reader gone", "stderr's reader gone", "stderr closed"):
        output = tmp_path / how.replace(" ", "-")
        command = ("transfer", "--root", data["bad"], "--model", tiny_model, "-o", output, "--steps", "4")
        assert run(how, command)[0] == 1


def test_training_goes_on_to_its_end(data, tmp_path):
    net = ("--architecture", "unet", "--encoder", "tu-resnet10t", "--encoder-weights", "none", "--size", "32x64")
    budget = ("--crop", "32x64", "--iterations", "2", "--batch", "2")
    for how in ("stderr closed", "stderr's reader gone", "terminal gone"):
        output = tmp_path / how.replace(" ", "-")
        assert run(how, ("adapt", "--root", data["good"], *net, *budget, "-o", output))[0] == 0
        assert (output / "model.safetensors").is_file()


def test_words_never_go_into_a_file_that_has_the_number_of_a_closed_stream(tiny_model, street, tmp_path):
    """With 2>&- the next file that is opened is number 2, and whoever warns writes into it."""
    output, log = tmp_path / "out", tmp_path / "log.jsonl"
    (street / "images/a/1.png").write_bytes(b"no image")  # something to say on standard error
    command = ("transfer", "--root", street, "--model", tiny_model, "-o", output, "--steps", "4", "--log", log)
    assert run("all closed", command)[0] == 1
    lines = [*log.read_text().splitlines(), *(output / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 3 + 3 and all(line.startswith("{") and line.endswith("}") for line in lines)


def test_a_pipe_that_another_program_made_non_blocking_loses_nothing(capfd):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text, got = "x" * 300_000, []

    def read_slowly() -> None:
        while chunk := os.read(reader, 65_536):
            got.append(chunk)
            time.sleep(0.01)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    kept = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    stdout = sys.stdout
    try:
        sys.stdout = os.fdopen(1, "w", closefd=False)
        with steady_streams():
            print(text)
    finally:
        sys.stdout = stdout
        os.dup2(kept, 1)
        os.close(kept)
    thread.join()
    assert b"".join(got).decode() == text + "\n"


def test_a_name_that_cannot_be_shown_ends_nothing(data, tmp_path):
    root = make_street(tmp_path / "strasse-\u00df")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*ZODI, "data", "check", "--root", root], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert r"strasse-\xdf" in done.stdout


def test_streams_are_as_before_when_a_command_has_ended(cli, data):
    before = sys.stdout, sys.stderr
    assert "3 images" in cli("data", "check", "--root", data["good"]).stdout
    assert (sys.stdout, sys.stderr) == before
