"""A run that is killed at any instant and resumed ends as an undisturbed one does."""

import errno
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_street
from faults import without_flock
from runs import outcome

DRIVER = Path(__file__).with_name("killing.py")
POINTS = ["before-replace", "before-row", "inside-row", "run.json", "sorting"]


def run_driver(root: Path, model: Path, outputs: Path, plans: list[str], env: dict[str, str] | None) -> list[str]:
    command = [sys.executable, DRIVER, root, model, outputs, *plans]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check(root: Path, model: Path, outputs: Path, plans: list[str], env: dict[str, str] | None = None) -> list[str]:
    """Kill and resume by each plan and compare with a run that nothing disturbed; returns what the driver printed."""
    lines = run_driver(root, model, outputs, [*plans, "nothing"], env)
    expected = outcome(outputs / str(len(plans)))
    assert len([name for name in expected if name.endswith(".png")]) == 9
    for number, plan in enumerate(plans):
        assert outcome(outputs / str(number)) == expected, plan
    assert not list(outputs.rglob("*.tmp"))
    return lines[:-1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_street(tmp_path / "in", count=9)


def test_killed_at_the_worst_points(tiny_model, root, tmp_path):
    lines = check(root, tiny_model, tmp_path / "out", POINTS)
    assert [line.split()[:2] for line in lines] == [[point, "killed"] for point in POINTS]


def test_killed_where_there_are_no_file_locks(tiny_model, root, tmp_path):
    """The lock is a link then, which stays; the next run sees that nobody holds it."""
    env = without_flock(tmp_path, errno.ENOSYS)
    lines = check(root, tiny_model, tmp_path / "out", ["before-row", "run.json", "sorting"], env)
    assert all(" killed " in line for line in lines)
    assert not list((tmp_path / "out").rglob("*.lock"))


@pytest.mark.slow
def test_killed_at_twenty_random_instants(tiny_model, root, tmp_path):
    generator = random.Random(7)
    instants = [f"{generator.uniform(0.05, 6.0):.2f}" for _ in range(20)]
    lines = check(root, tiny_model, tmp_path / "out", instants)
    assert sum(" killed " in line for line in lines) >= 10
