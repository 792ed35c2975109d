"""Files that are either whole or not there, and what is said where one cannot be written."""

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from zodi.errors import FileNameError, OutputError

# what a file system says of a name that it cannot hold, or that a file or folder stands in the way of
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be written: which, why, and what to do; FileNameError where its name is why."""
    in_the_way = next((folder for folder in path.parents if folder.exists() and not folder.is_dir()), None)
    if in_the_way is not None:
        mend = f"move {in_the_way} away, a folder must be there"
    elif error.errno == errno.EISDIR:
        mend = "move this folder away, a file must be there"
    elif error.errno in NO_SPACE:
        mend = "free some space and give the command again"
    elif error.errno in NAME_ERRORS:
        mend = "the output does not take this name, choose another"
    else:
        mend = "check the path, the permissions and the free space"
    kind = FileNameError if error.errno in NAME_ERRORS else OutputError
    return kind(f"{path}: cannot be written ({error.strerror}): {mend}")


def cannot_read(path: Path, error: OSError) -> OutputError:
    """The error for a file of an output that is there and cannot be read."""
    return OutputError(f"{path}: cannot be read ({error.strerror}): check the path and the permissions")


def write_atomic(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file so that every reader, also after a crash, sees either the old content or all of the new.

    The temporary file is `path` with `.tmp` added, or a hash with `.tmp` where that is too long; a leftover one is
    overwritten. Folders are made as needed. What is no file, as /dev/stdout or a pipe, is written to as it is. Without
    `sync` this holds for a killed process but not for a power cut, and costs no wait for the disk.

    Raises FileNameError where the folder cannot hold a file of that name, and OutputError where the file cannot be
    written (no permission, no space); no partial file is left then.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if 0 < os.pathconf(path.parent, "PC_NAME_MAX") < len(os.fsencode(temporary.name)):
            temporary = path.with_name(hashlib.sha256(os.fsencode(path.name)).hexdigest() + ".tmp")
        with temporary.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # the clean-up may fail for the same reason as the write; the first error is the one to tell
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from None


def remove(path: Path) -> None:
    """Delete a file if it is there. Raises OutputError where it cannot be deleted."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in NAME_ERRORS:  # what cannot be there is not there
            raise OutputError(
                f"{path}: cannot be deleted ({error.strerror}): check the path and the permissions"
            ) from None


def utf8(text: str) -> bytes:
    """Text as UTF-8; where a file name in it is none, its bytes become \\udcXX, which JSON reads as they were."""
    return text.encode("utf-8", "backslashreplace")
