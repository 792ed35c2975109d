"""A structured log: one JSON object per line, with the time and the event's name."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zodi.errors import OutputError

Log = Callable[..., None]


@contextmanager
def open_log(path: Path | None) -> Iterator[Log]:
    """Yield `log(event, **fields)`, which appends to a file; without a path it does nothing.

    Raises OutputError where the file cannot be opened.
    """
    if path is None:
        yield lambda event, **fields: None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}): give another --log") from None

    def log(event: str, **fields: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        file.write(json.dumps({"time": now, "event": event, **fields}, default=str) + "\n")

    with file:
        yield log
