"""A log that cannot be written any more: one word about it, and the run goes on."""

import json
import resource

import pytest

from zodi.errors import OutputError
from zodi.transfer.log import open_log


def test_a_run_whose_log_is_on_a_full_disk(cli, tiny_model, street, tmp_path):
    (street / "images/a/1.png").write_bytes(b"no image")  # so that there is more than one event
    done = cli(
        "transfer",
        "--root",
        street,
        "--model",
        tiny_model,
        "-o",
        tmp_path / "out",
        "--steps",
        "4",
        "--log",
        "/dev/full",
    )
    assert done.status == 1 and "2 transferred, 0 were done already, 1 failed" in done.stdout
    told = [line for line in done.stderr.splitlines() if "/dev/full" in line]
    assert told == ["/dev/full: cannot be written (No space left on device): the run goes on without this log"]


def test_lines_are_whole_again_once_there_is_space(tmp_path):
    before, told = resource.getrlimit(resource.RLIMIT_FSIZE), []
    path = tmp_path / "log.jsonl"
    with open_log(path, told.append) as log:
        log("start", images=3)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
        try:
            log("cut", text="x" * 100)
            log("lost")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log("end", done=3)
    lines = path.read_text().splitlines()
    assert len(told) == 1 and "File too large" in told[0]
    assert json.loads(lines[0])["event"] == "start" and json.loads(lines[-1])["event"] == "end"


def test_a_log_that_cannot_be_opened_is_an_error_before_the_run(tmp_path):
    with pytest.raises(OutputError, match=r"cannot be written \(Is a directory\)"), open_log(tmp_path, print):
        pass
