"""What a page is made of: sections of blocks. The template `page.html` draws each kind; all text is escaped there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Facts:
    """Names and values below each other."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others are numbers."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar; share: of the longest, 0..1; strong: the one to look at."""

    name: str
    share: float
    value: str
    strong: bool = False


@dataclass(frozen=True)
class Bars:
    """Horizontal bars."""

    kind: ClassVar[str] = "bars"
    bars: Sequence[Bar]
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI; text says what it shows."""

    kind: ClassVar[str] = "picture"
    uri: str
    text: str


@dataclass(frozen=True)
class Shot:
    """An image before and after, as data URIs, with a slider between them, and smaller pictures below.

    before  None: only the result is there
    more    (what it shows, data URI)
    """

    name: str
    after: str
    before: str | None = None
    note: str = ""
    more: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Gallery:
    """Shots side by side; text says which they are."""

    kind: ClassVar[str] = "gallery"
    shots: Sequence[Shot]
    text: str = ""


@dataclass(frozen=True)
class Commands:
    """Lines to copy."""

    kind: ClassVar[str] = "commands"
    lines: Sequence[str]


Block = Facts | Table | Bars | Picture | Gallery | Commands


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph and blocks."""

    title: str
    text: str = ""
    blocks: Sequence[Block] = field(default_factory=tuple)


def per_cent(value: float | None) -> str:
    """0.123 -> "12.3"; a dash for what is absent."""
    return "-" if value is None else f"{100 * value:.1f}"
