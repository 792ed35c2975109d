"""Whole runs on file systems that refuse flock(2), for files or for folders alone: the same results, and one word."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from conftest import make_street
from faults import without_flock
from runs import outcome

from zodi.transfer.manifest import MANIFEST


def command(root, model, output):
    return ["transfer", "--root", root, "--model", model, "-o", output, "--steps", "4", "--batch", "2"]


def run(environment, *arguments):
    words = [sys.executable, "-m", "zodi.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_run_where_flock_is_refused(cli, tiny_model, street, tmp_path, number):
    environment = without_flock(tmp_path, number)
    done = run(environment, *command(street, tiny_model, tmp_path / "out"), "--log", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "no file locks" in line] == [done.stderr.splitlines()[0]]
    assert os.strerror(number) in done.stderr
    assert cli(*command(street, tiny_model, tmp_path / "usual")).status == 0
    assert outcome(tmp_path / "out") == outcome(tmp_path / "usual")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", MANIFEST, "night", "run.json"}


def test_a_run_where_folders_alone_cannot_be_locked(tiny_model, street, tmp_path):
    environment = without_flock(tmp_path, errno.EBADF, folders_only=True)
    done = run(environment, *command(street, tiny_model, tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "lock" not in done.stderr


def test_shards_share_an_output_and_a_second_run_does_not(tiny_model, tmp_path):
    environment = without_flock(tmp_path, errno.ENOLCK)
    root, output = make_street(tmp_path / "in", count=9), tmp_path / "out"
    words = [sys.executable, "-m", "zodi.cli", *map(str, command(root, tiny_model, output))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    shards = [subprocess.Popen([*words, "--shard", f"{i}/2"], **pipes) for i in range(2)]
    told = [shard.communicate()[1] for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], told
    assert len(list(output.rglob("*.png"))) == 9
    holder = '{"host": "node7", "machine": "x", "boot": "x", "processes": "x", "pid": 77, "started": "1"}'
    (output / "manifest.0-of-2.jsonl.lock").symlink_to(holder)
    refused = run(environment, *command(root, tiny_model, output))
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("zodi: ")]
    assert "another run is writing to this output, process 77 on node7" in line
    assert line.endswith(f"delete {output}/manifest.0-of-2.jsonl.lock")


def test_the_card_of_all_shards_is_written_by_one_at_a_time(cli, tiny_model, street, tmp_path, monkeypatch):
    """Two that end at once would take each other's temporary file away."""
    output, written = tmp_path / "out", []

    def write(place):
        descriptor = os.open(place, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        written.append(place)

    monkeypatch.setattr("zodi.transferring.write_card", write)
    assert cli(*command(street, tiny_model, output)).status == 0
    assert written == [output]
