"""Samples whose files cannot be used: each is named once and left out, and too many of them are an error."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from zodi.errors import DataError

MAX_FAILURES = 10

Result = TypeVar("Result")


class Failures:
    """What could not be read so far; may be used by several threads.

    limit     files that may fail; with 0 the first one's own error is raised
    messages  one line for each file, in the order of their discovery
    """

    def __init__(self, limit: int = 0, tell: Callable[[str], None] = lambda message: None) -> None:
        """tell: called with the message of each."""
        self.limit = limit
        self.messages: list[str] = []
        self._files: dict[tuple[Path, ...], str] = {}
        self._tell = tell
        self._lock = Lock()

    def read(self, files: tuple[Path, ...], read: Callable[[], Result]) -> Result | None:
        """What `read` gives, or None where it raises DataError for these files, now or in an earlier call.

        Raises DataError when more files have failed than the limit allows.
        """
        if files in self._files:
            return None
        try:
            return read()
        except DataError as error:
            with self._lock:
                self._note(files, error)
            return None

    def _note(self, files: tuple[Path, ...], error: DataError) -> None:
        message = self._files[files] = str(error)
        if message in self.messages:  # a source image with several partners is one failure
            return
        self.messages.append(message)
        if self.limit == 0:
            raise error
        self._tell(message)
        if len(self.messages) > self.limit:
            raise DataError(
                f"{len(self.messages)} images or labels cannot be used, allowed are {self.limit} (--max-failures): "
                f"the last was {message}"
            )
