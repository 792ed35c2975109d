"""A structured log: one JSON object per line, with the time and the event's name."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zodi.files import cannot_write

Log = Callable[..., None]


@contextmanager
def open_log(path: Path | None, notify: Callable[[str], None]) -> Iterator[Log]:
    """Yield `log(event, **fields)`, which appends to a file; without a path it does nothing.

    notify  told once where the file can no longer be written, which ends no run

    Raises OutputError where the file cannot be opened.
    """
    if path is None:
        yield lambda event, **fields: None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise cannot_write(path, error) from None
    lost = False

    def log(event: str, **fields: Any) -> None:
        nonlocal lost
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": now, "event": event, **fields}, default=str) + "\n"
        try:
            file.write(("\n" + line if lost else line).encode())  # after a line that may be cut short
        except OSError as error:
            if not lost:
                notify(f"{path}: cannot be written ({error.strerror}): the run goes on without this log")
            lost = True

    with file:
        yield log
