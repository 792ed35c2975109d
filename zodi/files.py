"""Files that are either whole or not there."""

import contextlib
import os
from pathlib import Path

from zodi.errors import OutputError


def write_atomic(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file so that every reader, also after a crash, sees either the old content or all of the new.

    The temporary file is `path` with `.tmp` added; a leftover one is overwritten. Folders are made as needed.
    Without `sync` this holds for a killed process but not for a power cut, and costs no wait for the disk.

    Raises OutputError where the file cannot be written (no permission, no space); no partial file is left then.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}): check the permissions and the free space"
        ) from None
