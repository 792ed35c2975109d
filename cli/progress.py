"""Progress on the terminal: a bar where there is one, a plain line now and then where there is not."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_SECONDS = 10.0  # between two plain lines

Update = Callable[[int, int, str], None]


@contextmanager
def progress(what: str) -> Iterator[Update]:
    """Yield `update(done, total, note)`; everything goes to standard error, so that standard output stays clean.

    Of the processes of `accelerate launch` only the first one shows anything.
    """
    if os.environ.get("RANK", "0") != "0":
        yield lambda done, total, note: None
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None, note="")
            yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)
        return

    start = last = time.monotonic()

    def line(done: int, total: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_SECONDS and done != total:
            return
        last = now
        left = f", about {(now - start) / done * (total - done):.0f} s left" if done and done != total else ""
        print(f"{what}: {done}/{total}{left}{', ' + note if note else ''}", file=sys.stderr, flush=True)

    yield line
