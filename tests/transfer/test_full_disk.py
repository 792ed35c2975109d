"""A disk that fills up at any file of a run: one clear line, no half file, and the same command resumes."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_street
from faults import with_mounts
from runs import images, outcome

from zodi.transfer.manifest import MANIFEST, Manifest, Row, read_rows
from zodi.transfer.status import verify_transfer

DRIVER = Path(__file__).with_name("filling.py")

FULL = """
import resource, sys
from pathlib import Path
from zodi.cli.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["zodi", *{arguments!r}]
main()
"""


@pytest.fixture
def root(tmp_path) -> Path:
    return make_street(tmp_path / "in", count=24)


def command(root: Path, model: Path, output: Path) -> list[str]:
    return [*map(str, ("transfer", "--root", root, "--model", model, "-o", output)), "--steps", "2", "--batch", "4"]


def check_refusal(done: subprocess.CompletedProcess[str], *names: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("zodi: ")]
    assert "cannot be written" in line and any(name in line for name in names), line


def test_a_manifest_that_no_row_fits_into(cli, tiny_model, root, tmp_path):
    """A limit on the size of files, which the manifest passes and no image does."""
    output = tmp_path / "out"
    code = FULL.format(limit=6_000, arguments=command(root, tiny_model, output))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    check_refusal(done, "manifest.jsonl")
    rows = read_rows(output, {})
    assert 0 < len(rows) < 24
    assert {f"night/{key}.png" for _, key in rows} == set(images(output))
    assert (output / MANIFEST).read_bytes().endswith(b"}\n")
    assert not list(output.rglob("*.tmp"))
    assert verify_transfer(output).problems == []
    assert cli(*command(root, tiny_model, output)).status == 0
    assert cli(*command(root, tiny_model, tmp_path / "whole")).status == 0
    assert outcome(output) == outcome(tmp_path / "whole")


def test_a_row_that_is_cut_by_a_full_disk_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = [Row("night", f"a/{i}", "ok", "hash", seed=i) for i in range(3)]
    with Manifest(tmp_path / MANIFEST) as manifest:
        manifest.append(rows[0])
        size = manifest.path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        try:
            with pytest.raises(Exception, match=r"cannot be written \(File too large\)"):
                manifest.append(rows[1])
            assert manifest.path.stat().st_size == size
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        manifest.append(rows[2])
    assert [key for _, key in read_rows(tmp_path, {})] == ["a/0", "a/2"]


def test_a_disk_that_fills_up(tiny_model, tmp_path):
    """At run.json, an image, a row, the sorted manifest, the card: by how much is free when the run starts."""
    root, disk = make_street(tmp_path / "in", count=12), tmp_path / "disk"
    disk.mkdir()
    free = (0, 12, 80, 104, 108, 112, 116)
    driver = with_mounts(sys.executable, DRIVER, root, tiny_model, disk, *free)
    done = subprocess.run(driver, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == len(free)
    full = set()
    for case in cases:
        status, lines = case["full"]
        (error,) = [line for line in lines if line.startswith("zodi: ")]
        assert status == 1 and "cannot be written (No space left on device): free some space" in error
        full.add(Path(error.split(": ")[1]).suffix)
        assert case["left"] == []
        assert not [line for line in case["verified"][1] if "has no row" in line or "left over" in line]
        assert (case["freed"][0], case["whole"][0], case["images"]) == (0, 0, 12), case
    assert ".json" in full
    assert full & {".png", ".jsonl"}  # which of them comes first is up to the threads that write
