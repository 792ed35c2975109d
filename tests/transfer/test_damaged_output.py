"""Outputs that somebody has moved, deleted, replaced or locked away: one clear line each, and the command resumes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults import with_mounts
from runs import outcome

QUICK = ("--steps", "4", "--batch", "2")


@pytest.fixture
def run(cli, tiny_model, street, tmp_path):
    """Give the command of a run of two domains, done before."""

    def give(*more: object):
        domains = ("--domain", "night", "--domain", "fog")
        return cli("transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *domains, *QUICK, *more)

    assert give().status == 0
    return give


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "out"


def lines(done) -> list[str]:
    assert "Traceback" not in done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("verify: ")]


def move(output: Path) -> None:
    (output / "night").rename(output.parent / "moved")


def replace_by_file(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("x")


def test_a_folder_of_results_that_was_moved(cli, run, output):
    whole = outcome(output)
    move(output)
    assert lines(cli("transfer", "verify", output)) == [
        f"{output}/night: is missing, and 3 results with it: put the folder back, or resume the run",
        "6 results compared, 1 problems",
    ]
    shown = cli("transfer", "status", output)
    assert shown.status == 0 and f"  {output}/night: is missing: put the folder back, or resume the run" in lines(shown)
    assert "3 transferred, 3 were done already" in run().stdout
    assert outcome(output) == whole and cli("transfer", "verify", output).status == 0


def test_a_file_in_place_of_a_folder_of_results(cli, run, output):
    whole = outcome(output)
    replace_by_file(output / "night")
    verified = cli("transfer", "verify", output)
    assert verified.status == 1
    assert lines(verified)[0].startswith(f"{output}/night: is a file, the folder with 3 results is missing")
    assert cli("transfer", "status", output).status == 0
    done = run()
    assert done.status == 1
    assert f"move {output}/night away, a folder must be there" in lines(done)[-1]
    (output / "night").unlink()
    assert run().status == 0 and outcome(output) == whole


@pytest.mark.parametrize("name", ["masks", "quarantine"])
def test_a_file_in_place_of_a_folder_that_the_run_does_not_need(cli, run, output, name):
    replace_by_file(output / name)
    shutil.rmtree(output / "night")
    assert run().status == 0
    assert cli("transfer", "verify", output).status == 0


@pytest.mark.parametrize("name", ["README.md", "run.json", "manifest.jsonl"])
def test_a_folder_in_place_of_a_file(cli, run, output, name):
    (output / name).unlink()
    (output / name).mkdir()
    for looking in ("verify", "status"):
        done = cli("transfer", looking, output)
        assert done.status == (name != "README.md"), lines(done)
        assert done.status == 0 or len(lines(done)) == 1
    done = run()
    assert done.status == 1 and name in lines(done)[-1]
    (output / name).rmdir()
    if name != "run.json":  # without it nobody knows by which settings the results were made
        assert run().status == 0
        assert cli("transfer", "verify", output).status == 0


def test_a_run_json_that_is_lost(cli, run, output):
    kept = (output / "run.json").read_bytes()
    (output / "run.json").unlink()
    for done in (cli("transfer", "verify", output), cli("transfer", "status", output)):
        assert done.status == 1 and "holds no run.json" in lines(done)[-1]
    done = run()
    assert done.status == 1 and lines(done) == [f"zodi: {output}: its run.json is lost: put it back, or use another -o"]
    (output / "run.json").write_bytes(kept)
    assert "0 transferred, 6 were done already" in run().stdout


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"domains": 3}', '{"domains": {"night": 3}}', '{"domains": {"night": {}}}']
)
def test_a_run_json_that_is_damaged(cli, run, output, content):
    (output / "run.json").write_text(content)
    for done in (cli("transfer", "verify", output), cli("transfer", "status", output), run()):
        assert done.status == 1 and "run.json: is damaged" in lines(done)[-1]


def test_a_manifest_that_is_lost(cli, run, output):
    whole = outcome(output)
    (output / "manifest.jsonl").unlink()
    verified = cli("transfer", "verify", output)
    assert verified.status == 1
    assert f"{output}: holds no row of any result: give the command of the run again" in lines(verified)
    assert sum("has no row in the manifest" in line for line in lines(verified)) == 6
    assert cli("transfer", "status", output).status == 0
    assert "6 transferred" in run().stdout and outcome(output) == whole


def test_a_file_that_no_row_knows_is_found_in_every_folder(cli, run, output):
    (output / "fog/b").mkdir()
    shutil.copy(output / "fog/a/0.png", output / "fog/b/0.png")
    assert lines(cli("transfer", "verify", output))[0].startswith(f"{output}/fog/b/0.png: has no row in the manifest")


def test_an_output_and_a_data_set_that_are_read_only(run, tiny_model, street, output):
    zodi = f"{sys.executable} -m zodi.cli transfer"
    again = f"{zodi} --root {street} --model {tiny_model} {' '.join(QUICK)} --domain night"
    script = f"""
        for folder in {output} {street}; do
            mount --bind $folder $folder && mount -o remount,ro,bind $folder || exit 9
        done
        {again} -o {output}; echo "output: $?"
        {zodi} verify {output} 2> /dev/null; echo "verify: $?"
        {zodi} status {output}; echo "status: $?"
        {again} -o {output}-2; echo "data set: $?"
    """
    done = subprocess.run(with_mounts("sh", "-c", script), capture_output=True, text=True)
    assert "Traceback" not in done.stdout + done.stderr
    shown = done.stdout.splitlines()
    assert {"output: 1", "verify: 0", "status: 0", "data set: 0"} <= set(shown), done.stdout + done.stderr
    assert "6 results compared, 0 problems" in shown
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("zodi: ")]
    assert error.startswith(f"zodi: {output}/manifest.jsonl: cannot be written (Read-only file system)")
