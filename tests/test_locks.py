"""Locks between processes, with flock(2) and on file systems that have none."""

import errno
import fcntl
import json
import os
import time
from functools import partial
from pathlib import Path

import pytest

from zodi.errors import OutputError
from zodi.locks import check_free, hold

REFUSALS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF]


def refuse(monkeypatch, number: int) -> None:
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "rows").touch()
    return tmp_path / "rows"


@pytest.fixture
def link(tmp_path) -> Path:
    return tmp_path / "rows.lock"


@pytest.fixture(params=["flock", "link"])
def kind(request, monkeypatch) -> str:
    if request.param == "link":
        refuse(monkeypatch, errno.ENOSYS)
    return str(request.param)


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def in_child(work) -> int:
    """Fork; the child does the work and ends without clean-up, as by kill -9; the parent gets its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


HELD: list[object] = []


def keep(target: Path, link: Path) -> None:
    """Hold for as long as the process lives: a context manager that nobody refers to would be left."""
    HELD.append(hold(target, link))
    HELD[-1].__enter__()


def leave_link(target: Path, link: Path, **changed: object) -> None:
    """The link of a holder that was killed; `changed` is what it says of itself differently."""
    os.waitpid(in_child(partial(keep, target, link)), 0)
    text = json.loads(str(link.readlink())) | changed
    link.unlink()
    link.symlink_to(json.dumps(text))


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_where_flock_is_refused_a_link_is_the_lock(target, link, monkeypatch, number):
    refuse(monkeypatch, number)
    told: list[str] = []
    with hold(target, link, notify=told.append):
        assert json.loads(str(link.readlink()))["pid"] == os.getpid()
    assert len(told) == 1 and os.strerror(number) in told[0] and link.name in told[0]
    assert files(target.parent) == [target.name]


def test_where_flock_works_there_is_no_link_and_no_word(target, link):
    told: list[str] = []
    with hold(target, link, notify=told.append):
        assert files(target.parent) == [target.name]
    assert not told


def test_a_second_holder_is_refused(target, link, kind):
    with hold(target, link):
        with (
            pytest.raises(OutputError, match=r"rows: another run is writing to this output.*wait for it"),
            hold(target, link),
        ):
            pass
        with pytest.raises(OutputError, match="another run is writing"):
            check_free(target, link)
    check_free(target, link)
    with hold(target, link):
        pass


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES], ids=errno.errorcode.get)
def test_a_lock_that_another_process_has_is_no_missing_lock(target, link, monkeypatch, number):
    refuse(monkeypatch, number)
    with pytest.raises(OutputError, match="another run is writing"), hold(target, link):
        pass
    with pytest.raises(OutputError, match="another run is writing"):
        check_free(target, link)


@pytest.mark.parametrize("number", [errno.EBADF, errno.EACCES], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_locked(tmp_path, monkeypatch, number):
    refuse(monkeypatch, number)
    with hold(tmp_path, tmp_path / "run.json.lock"):
        assert (tmp_path / "run.json.lock").is_symlink()


def test_a_holder_is_waited_for(target, link, kind):
    def hold_for_a_while():
        with hold(target, link):
            (target.parent / "held").touch()
            time.sleep(0.5)

    child = in_child(hold_for_a_while)
    while not (target.parent / "held").exists():
        time.sleep(0.01)
    start = time.monotonic()
    with hold(target, link, wait=30.0):
        assert 0.2 < time.monotonic() - start < 20.0
    os.waitpid(child, 0)


def test_a_killed_holder_holds_nothing(target, link, kind):
    os.waitpid(in_child(partial(keep, target, link)), 0)
    assert link.is_symlink() == (kind == "link")
    check_free(target, link)
    with hold(target, link):
        pass
    assert not link.is_symlink()


def test_a_killed_holder_whose_parent_has_not_asked_for_it_holds_nothing(target, link, kind):
    child = in_child(partial(keep, target, link))
    while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    with hold(target, link):
        pass
    os.waitpid(child, 0)


def test_another_process_of_the_same_number_is_not_the_holder(target, link, monkeypatch):
    refuse(monkeypatch, errno.ENOSYS)
    leave_link(target, link, pid=os.getpid(), started="1")
    with hold(target, link):
        pass


def test_a_holder_from_before_the_machine_was_started_again_is_gone(target, link, monkeypatch):
    refuse(monkeypatch, errno.ENOSYS)
    leave_link(target, link, boot="before", pid=os.getpid())
    if not json.loads(str(link.readlink()))["machine"]:
        pytest.skip("this machine has no /etc/machine-id to be known by after a restart")
    with hold(target, link):
        pass


UNCERTAIN = {
    "another machine": {"host": "node7", "machine": "other", "boot": "other"},
    "a machine without an id": {"host": "node7", "machine": "", "boot": "other"},
    "a container": {"host": "node7", "processes": "pid:[1]"},
}


@pytest.mark.parametrize("case", UNCERTAIN)
def test_a_holder_elsewhere_may_still_run_and_is_named(target, link, kind, monkeypatch, case):
    refuse(monkeypatch, errno.ENOSYS)
    leave_link(target, link, pid=77, **UNCERTAIN[case])
    if kind == "flock":
        monkeypatch.undo()
    with (
        pytest.raises(OutputError, match=r"process 77 on node7: wait for it.*delete .*rows\.lock$"),
        hold(target, link),
    ):
        pass
    with pytest.raises(OutputError, match="process 77 on node7"):
        check_free(target, link)
    assert link.is_symlink()
    link.unlink()  # as the message says
    with hold(target, link):
        pass


@pytest.mark.parametrize("there", ["no text of ours", "{}", "[1]", '{"boot": 3, "machine": 4}'])
def test_a_link_that_says_nothing_is_taken_seriously(target, link, kind, there):
    link.symlink_to(there)
    with pytest.raises(OutputError, match=r"another run is writing.*delete .*rows\.lock$"), hold(target, link):
        pass


def test_a_file_in_the_place_of_the_link(target, link, kind):
    link.write_text("x")
    with pytest.raises(OutputError, match=r"another run is writing.*delete .*rows\.lock$"), hold(target, link):
        pass


def test_a_file_that_its_last_holder_replaced_is_locked_itself(target, link):
    """A manifest is sorted into a new file: a lock on the old one would exclude nobody."""
    with hold(target, link):
        (target.parent / "new").touch()
        (target.parent / "new").replace(target)
    with hold(target, link), pytest.raises(OutputError, match="another run"), hold(target, link):
        pass


def test_of_many_that_resume_at_once_one_goes_on(target, link, monkeypatch):
    refuse(monkeypatch, errno.ENOSYS)
    inside = target.parent / "inside"

    def resume(start: float) -> None:
        while time.monotonic() < start:
            pass
        try:
            with hold(target, link):
                inside.touch(exist_ok=False)
                time.sleep(0.005)
                inside.unlink()
        except OutputError:
            return
        except FileExistsError:
            (target.parent / "two at once").touch()

    for _ in range(20):
        os.waitpid(in_child(partial(keep, target, link)), 0)
        assert link.is_symlink()
        start = time.monotonic() + 0.02
        for child in [in_child(partial(resume, start)) for _ in range(6)]:
            os.waitpid(child, 0)
    assert files(target.parent) == [target.name]
