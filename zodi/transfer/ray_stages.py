"""The three stages of a run on Ray as they run in its worker processes: load, repaint, write.

What goes between processes is bytes in a table of one column, so that nothing is unpickled by a process that has
another version of zodi. An image travels as an `Item`, then as a `Result`; whatever needs no more work is a message to
the process that started the run, errors too: it alone writes the manifest.
"""

import functools
import pickle
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from zodi import __version__
from zodi.data import Dataset, Sample
from zodi.errors import DataError, EngineError, OutputError, ZodiError
from zodi.model import ModelInfo
from zodi.transfer.batches import Batches, Transfer
from zodi.transfer.items import Item, Job, Target, load_item
from zodi.transfer.manifest import Row
from zodi.transfer.results import Result, failed_row, write_result
from zodi.transfer.settings import RUN_FILE, TransferSettings

COLUMN = "content"

Open = Callable[[Path, Callable[..., None]], AbstractContextManager[tuple[Transfer, Sequence[Job]]]]


@dataclass(frozen=True)
class Setup:
    """What every process of a run needs; paths are absolute.

    dataset  without its samples
    targets  the domains of the run
    open     opens the engine: given the output and where to log
    """

    dataset: Dataset
    output: Path
    info: ModelInfo
    settings: TransferSettings
    targets: tuple[Target, ...]
    open: Open


@dataclass(frozen=True)
class Skipped:
    """Results that were done before."""

    count: int


@dataclass(frozen=True)
class Event:
    """For the log of the run."""

    name: str
    fields: dict[str, Any]


Message = Row | Skipped | Event | ZodiError


def pack(things: Sequence[object]) -> pa.Table:
    """A table with one pickled object per row."""
    return pa.table({COLUMN: pa.array([pickle.dumps(thing) for thing in things], pa.large_binary())})


def unpack(table: pa.Table) -> Iterator[Any]:
    """The objects of a table."""
    return (pickle.loads(value.as_buffer()) for value in table[COLUMN])


@functools.lru_cache(1)
def open_setup(version: str, content: bytes) -> Setup:
    """The pickled setup of a run, checked once per process.

    Raises EngineError where this process has another version of zodi than the one that started the run, DataError and
    OutputError where it does not see the run's data set or output.
    """
    node = platform.node()
    if version != __version__:
        raise EngineError(
            f"node {node} has zodi {__version__}, the run is zodi {version}'s: install that on every node"
        )
    setup: Setup = pickle.loads(content)
    if not setup.dataset.root.is_dir():
        raise DataError(f"{setup.dataset.root}: node {node} does not see the data set: put it where every node sees it")
    if not (setup.output / RUN_FILE).is_file():
        raise OutputError(f"{setup.output}: node {node} does not see the output: put it where every node sees it")
    return setup


def load_stage(table: pa.Table, version: str, content: bytes) -> Iterator[pa.Table]:
    """Rows (sample, its rows of the manifest) become items, or messages."""
    try:
        setup = open_setup(version, content)
        for sample, rows in unpack(table):
            yield pack(_load(setup, sample, rows))
    except ZodiError as error:
        yield pack([_named(error)])


def _load(setup: Setup, sample: Sample, rows: Sequence[Row]) -> list[Item | Message]:
    by_domain = {(row.domain, row.key): row for row in rows}
    item = load_item(
        setup.dataset, sample, setup.targets,
        output=setup.output, rows=by_domain, info=setup.info, settings=setup.settings,
    )  # fmt: skip
    if isinstance(item, DataError):
        return [failed_row(sample, target, setup.settings, str(item)) for target in setup.targets]
    if item is None:
        return [Skipped(len(setup.targets))]
    done = len(setup.targets) - len(item.pending)
    return [item, Skipped(done)] if done else [item]


class EngineStage:
    """One engine, opened once; items become results, messages pass."""

    def __init__(self, version: str, content: bytes) -> None:
        self._events: list[Event] = []
        self._error: ZodiError | None = None
        self._stack = ExitStack()  # open until the process ends
        try:
            setup = open_setup(version, content)
            self._batches = Batches(*self._stack.enter_context(setup.open(setup.output, self._log)))
        except ZodiError as error:  # raised here, Ray would start the process again
            self._error = _named(error)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """A result does not depend on its neighbours, so every call ends its own batches: nothing waits in here."""
        if self._error is not None:
            yield pack([self._error])
            return
        try:
            for thing in unpack(table):
                yield from self._repaint(self._batches.add(thing)) if isinstance(thing, Item) else [pack([thing])]
            while self._batches:
                yield from self._repaint(self._batches.flush())
        except ZodiError as error:
            yield pack([_named(error)])

    def _repaint(self, results: Iterator[Result]) -> Iterator[pa.Table]:
        for result in results:
            yield pack([result])
        if self._events:
            yield pack(self._events)
            self._events.clear()

    def _log(self, event: str, **fields: Any) -> None:
        self._events.append(Event(event, fields))


def write_stage(table: pa.Table, version: str, content: bytes) -> Iterator[pa.Table]:
    """Results become files and their rows of the manifest; messages pass."""
    try:
        setup = open_setup(version, content)
        for thing in unpack(table):
            if isinstance(thing, Result):
                thing = write_result(thing, setup.settings, setup.dataset.label_set, setup.output)
            yield pack([thing])
    except ZodiError as error:
        yield pack([_named(error)])


def _named(error: ZodiError) -> ZodiError:
    """The error, saying on which node it happened."""
    node = f"node {platform.node()}"
    return error if node in str(error) else type(error)(f"{node}: {error}")
