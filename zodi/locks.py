"""Locks between processes: flock(2), and a link that names its holder where a file system has no flock.

Lustre, some NFS and some FUSE mounts refuse flock(2). Symbolic links they have, and one is made with its text or not at
all. The kernel takes a flock back when its holder dies; a link stays, so its text says who made it.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zodi.errors import OutputError
from zodi.files import cannot_read, cannot_write

POLL_SECONDS = 0.05


@contextmanager
def hold(
    target: Path, link: Path, *, wait: float = 0.0, notify: Callable[[str], None] = lambda message: None
) -> Iterator[None]:
    """Hold an existing file or folder against every other process that asks to hold it.

    link    stands for the lock where the file system has no flock
    wait    seconds to wait for another holder
    notify  told where the link is used

    Raises OutputError where another still holds it, or neither kind of lock can be made.
    """
    deadline = time.monotonic() + wait
    try:
        descriptor, reason = _flock(target, deadline)
    except OSError as error:
        raise cannot_write(target, error) from None
    made = None
    try:
        _await_link(target, link, deadline)  # made by a process to whom flock was refused
        if reason is not None:
            made = _make_link(target, link, deadline)
            notify(
                f"{target}: this file system has no file locks ({reason}), so the link {link.name} is the lock: "
                "delete it before a run that was killed is resumed on another machine"
            )
        yield
    finally:
        if made is not None and _text(link) == made:
            link.unlink()
        os.close(descriptor)


def check_free(target: Path, link: Path) -> None:
    """Raise OutputError where another process holds a file; no process that asks at the same time notices."""
    text = _text(link)
    if text is not None and not _is_gone(text):
        raise _held(target, link, text)
    try:
        file = target.open("rb")
    except OSError as error:
        raise cannot_read(target, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if _is_contended(error, target):
                raise _held(target) from None


def _flock(target: Path, deadline: float) -> tuple[int, str | None]:
    """An open descriptor, and None if it has the flock, else why there are no flocks here."""
    while True:
        # some NFS servers lock only what is open for writing, which no folder can be
        descriptor = os.open(target, os.O_RDONLY if target.is_dir() else os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not _is_contended(error, target):
                return descriptor, error.strerror or str(error)
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise _held(target) from None
            time.sleep(POLL_SECONDS)
        else:
            if os.path.samestat(os.fstat(descriptor), target.stat()):  # else its last holder has just replaced it
                return descriptor, None
        os.close(descriptor)


def _is_contended(error: OSError, target: Path) -> bool:
    """Whether flock failed because another process has the lock, not because there are no locks."""
    return error.errno == errno.EWOULDBLOCK or (error.errno == errno.EACCES and not target.is_dir())


def _await_link(target: Path, link: Path, deadline: float) -> None:
    """Return as soon as there is no link; that of a holder that is gone is removed."""
    while (text := _text(link)) is not None:
        if _is_gone(text) and _clear(link, text):
            continue
        if time.monotonic() >= deadline:
            raise _held(target, link, text)
        time.sleep(POLL_SECONDS)


def _make_link(target: Path, link: Path, deadline: float) -> str:
    """Make the link; returns its text."""
    own = json.dumps(_identity() | {"token": secrets.token_hex(8)})
    while True:
        try:
            link.symlink_to(own)
        except FileExistsError:
            if _text(link) != own:  # NFS may make it, lose the answer and try again
                _await_link(target, link, deadline)
                continue
        except OSError as error:
            raise cannot_write(link, error) from None
        return own


def _clear(link: Path, text: str) -> bool:
    """Remove a link of which `text` says that its holder is gone; False where another process is about to.

    One at a time: a second one would remove what the first has made in its place.
    """
    guard = link.with_name(f"{link.name}.clearing")
    try:
        guard.symlink_to(json.dumps(_identity()))
    except FileExistsError:
        if not _is_gone(_text(guard) or ""):
            return False
        guard.unlink(missing_ok=True)
        return _clear(link, text)
    try:
        if _text(link) == text:
            link.unlink()
    finally:
        guard.unlink()
    return True


def _text(link: Path) -> str | None:
    """What a link says; None where there is none, "" where a file or folder is in its place."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _identity() -> dict[str, Any]:
    """This process, so that another one on the same machine can see whether it still runs.

    machine    its id from installation; "" in most containers
    boot       differs after each start of the machine
    processes  the PID namespace: containers have their own
    started    in clock ticks since boot: process ids are used again
    """
    pid, host = os.getpid(), socket.gethostname()
    return {
        "host": host,
        "machine": _read("/etc/machine-id"),
        "boot": _read("/proc/sys/kernel/random/boot_id") or host,
        "processes": _text(Path("/proc/self/ns/pid")),
        "pid": pid,
        "started": _state(pid)[1],
    }


def _is_gone(text: str) -> bool:
    """Whether a link's holder certainly runs no more; of another machine or container nothing is certain."""
    here = _identity()
    try:
        there: dict[str, Any] = json.loads(text)
        if there["boot"] != here["boot"]:
            return bool(there["machine"]) and there["machine"] == here["machine"]  # this one, before it was restarted
        if there["processes"] != here["processes"]:
            return False
        os.kill(there["pid"], 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OSError):  # no text of ours, or a process of another user
        return False
    state, started = _state(there["pid"])
    return state in ("Z", "X") or started != there["started"]


def _state(pid: int) -> tuple[str, str]:
    """State and start of a process by the kernel's /proc/PID/stat; both "" where it cannot be read."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _held(target: Path, link: Path | None = None, text: str = "") -> OutputError:
    by, mend = "", "wait for it, or use another -o"
    if link is not None:
        here = _identity()
        try:
            there = json.loads(text)
            by = f", process {there['pid']} on {there['host']}"
            local = (there["boot"], there["processes"]) == (here["boot"], here["processes"])
        except (ValueError, KeyError, TypeError):
            local = False
        if not local:
            mend += f"; if it is no longer running, delete {link}"
    return OutputError(f"{target}: another run is writing to this output{by}: {mend}")
