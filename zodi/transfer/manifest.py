"""The record of a run: one JSON line per image, appended after the image is in place, sorted at a clean end."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from zodi.errors import OutputError
from zodi.files import cannot_read, cannot_write, utf8, write_atomic
from zodi.locks import check_free, hold

MANIFEST = "manifest.jsonl"


def manifest_name(shard: tuple[int, int] | None) -> str:
    """The manifest's name of a whole run, or of shard (i, n)."""
    return MANIFEST if shard is None else f"manifest.{shard[0]}-of-{shard[1]}.jsonl"


@dataclass(frozen=True)
class Row:
    """What became of one image.

    domain, key    which result it is: `OUT/<domain>/<key>.png`
    status         "ok", "failed", or "quarantined": made, but its layout agrees too little with the label
    error          why it is not ok, one line
    seed           of its noise
    attempt        which try it is, from 0
    settings       hash of the settings it was made with
    source_sha256, label_sha256, sha256  of the source image, its label file and the result
    seconds        wall time of its batch divided by the batch's images
    scores         quality, see `zodi.transfer.quality.score`
    note           what was done differently for it: "fp32" after a half-precision failure, "batch 2" after running
                   out of memory
    """

    domain: str
    key: str
    status: str
    settings: str
    seed: int
    attempt: int = 0
    source_sha256: str | None = None
    label_sha256: str | None = None
    sha256: str | None = None
    seconds: float | None = None
    scores: dict[str, Any] | None = None
    note: str | None = None
    error: str | None = None


def read_rows(output: Path, current: Mapping[str, str]) -> dict[tuple[str, str], Row]:
    """The last row of each (domain, key) in every `manifest*.jsonl` of a run; a line cut short by a crash is skipped.

    current  settings hash by domain: where two files have rows of one image (a run and its shards), one that was made
             with these settings counts before one that was not, and then one of an image that is there

    Raises OutputError for a line that is complete and yet no row.
    """

    def rank(row: Row) -> tuple[bool, bool]:
        return row.settings == current.get(row.domain), row.status != "failed"

    rows: dict[tuple[str, str], Row] = {}
    for path in sorted(output.glob("manifest*.jsonl")):
        for key, row in _last(_read(path)).items():
            if key not in rows or rank(row) >= rank(rows[key]):
                rows[key] = row
    return rows


def _read(path: Path, *, damaged: bool = False) -> list[Row]:
    """The rows of a file; `damaged`: leave out lines that are none, instead of OutputError."""
    known = {field.name for field in fields(Row)}
    rows = []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from None
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            table: dict[str, Any] = json.loads(line)
            rows.append(Row(**{key: value for key, value in table.items() if key in known}))
        except (ValueError, TypeError, AttributeError):
            # A crash cuts a line anywhere; the next run starts a new line after it. Its image is made again.
            if damaged or (line.startswith(b"{") and not line.rstrip().endswith(b"}")):
                continue
            raise OutputError(f"{path}: line {number} is not a row of a manifest: mend it, or use --restart") from None
    return rows


class Manifest:
    """The manifest that one process writes; holds the lock on it until it is closed."""

    def __init__(self, path: Path, notify: Callable[[str], None] = lambda message: None) -> None:
        """Open or create the file and lock it.

        notify  told where the file system has no locks, see `zodi.locks`

        Raises OutputError where another process writes to it, or to a manifest that may have rows of the same images.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise cannot_write(path, error) from None
        with ExitStack() as stack:
            stack.enter_context(hold(path, _link(path), notify=notify))
            for other in _overlapping(path):
                check_free(other, _link(other))
            # no buffer: what a full disk refuses would be written again, and refused again, as the file is closed
            try:
                self._file = stack.enter_context(path.open("ab", buffering=0))
            except OSError as error:
                raise cannot_write(path, error) from None
            self._end_torn_line()
            self._open = stack.pop_all()

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def append(self, row: Row) -> None:
        """Write a row; it is in the kernel's hands, and so safe from a kill, when this returns.

        Raises OutputError where it cannot be written; nothing of it is in the file then.
        """
        self._write(_line(row))

    def sort(self) -> None:
        """Rewrite the file with the last row of each image, by domain and key; damaged lines go."""
        last = _last(_read(self.path, damaged=True))
        write_atomic(self.path, b"".join(_line(last[key]) for key in sorted(last)))

    def _end_torn_line(self) -> None:
        if self._file.tell() == 0:
            return
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        if torn:
            self._write(b"\n")

    def _write(self, line: bytes) -> None:
        end = self._file.seek(0, os.SEEK_END)
        try:
            while line:  # a disk that fills up takes a part of it
                line = line[self._file.write(line) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise cannot_write(self.path, error) from None


def _last(rows: list[Row]) -> dict[tuple[str, str], Row]:
    return {(row.domain, row.key): row for row in rows}


def _overlapping(path: Path) -> list[Path]:
    """The manifests beside this one whose runs may make the same images: all but other shards of as many."""
    shares = re.compile(r"manifest\.\d+-of-(\d+)\.jsonl").fullmatch
    own = shares(path.name)
    others = [other for other in sorted(path.parent.glob("manifest*.jsonl")) if other != path]
    return [other for other in others if not (own and (found := shares(other.name)) and found[1] == own[1])]


def _link(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _line(row: Row) -> bytes:
    return utf8(json.dumps(asdict(row), ensure_ascii=False)) + b"\n"


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
