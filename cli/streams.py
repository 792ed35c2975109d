"""Standard output and error that end no command: words that nobody takes are dropped, the work goes on."""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

READER_GONE = (errno.EPIPE, errno.EIO)  # `| head` has read enough, the terminal was closed


class _Descriptor(io.FileIO):
    """Writes to a descriptor, which stays open; what is refused counts as written."""

    refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        while True:
            try:
                written = super().write(data)
            except OSError as error:
                if error.errno not in READER_GONE:
                    self.refused = error
                return len(data)
            if written is not None:
                return written
            select.select([], [self], [])  # a pipe that another program made non-blocking is full


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """Put such streams in place of `sys.stdout` and `sys.stderr` while a command runs.

    A disk that is too full for standard output is reported on standard error at the end.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed, as by 2>&-; the next file that is opened would get its number, and the words
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _steady(sys.stdout, 1), _steady(sys.stderr, 2)
    try:
        yield
    finally:
        error = take_refusal()
        if error is not None:
            print(f"zodi: standard output: cannot be written ({error.strerror}): words are lost", file=sys.stderr)
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def take_refusal() -> OSError | None:
    """Why standard output has lost what was written to it, once; None also where its reader is gone."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _Descriptor):
        return None
    error, raw.refused = raw.refused, None
    return error


def _steady(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream on a steady descriptor; as it is where it goes elsewhere, as in a program that calls a command."""
    encoding = "utf-8"
    if stream is not None:
        try:
            if not os.path.sameopenfile(stream.fileno(), descriptor):
                return stream
        except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
            return stream
        encoding = stream.encoding
        with contextlib.suppress(OSError):
            stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(descriptor, "wb", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",  # names of files may be in any encoding
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )
