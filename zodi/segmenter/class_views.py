"""Scores of some of the classes, or of classes that are merged, made of the counts of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zodi.domains import read_toml
from zodi.errors import SettingsError
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.metrics import Counts

VOID = "void"  # in place of a class, for labels that are not to count
SIDES = ("labels", "predictions")

# the classes of Cityscapes that SYNTHIA has (Vu et al., ADVENT, arXiv 1811.12833: mIoU over 16 classes), and those of
# them without wall, fence and pole (Tsai et al., AdaptSegNet, arXiv 1802.10349: 13 classes, often "mIoU*")
SYNTHIA_16 = tuple(name for name in CITYSCAPES_19.names if name not in ("terrain", "truck", "train"))
SYNTHIA_13 = tuple(name for name in SYNTHIA_16 if name not in ("wall", "fence", "pole"))
SUBSETS = {"synthia-16": SYNTHIA_16, "synthia-13": SYNTHIA_13}


@dataclass(frozen=True)
class ClassView:
    """Which classes are scored.

    subsets      names of the classes of each mean that is reported beside that of all
    labels       the class, or "void", that each of these classes of the labels counts as
    predictions  the class that each of these predicted classes counts as

    A class that neither labels nor predictions count as any more is left out.
    """

    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    predictions: Mapping[str, str] = field(default_factory=dict)

    def classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of a model's classes that are left. Raises SettingsError for what does not fit them."""
        for side in SIDES:
            table = getattr(self, side)
            for name, other in table.items():
                allowed = [*names, VOID] if side == "labels" else names
                wrong = name if name not in names else other if other not in allowed else None
                if wrong is not None:
                    hint = f" (void is for labels alone: labels:{name}=void)" if wrong == VOID else ""
                    raise SettingsError(f"merge {side} {name}={other}: {wrong!r} is no class{hint}: {_known(names)}")
                if name == other or other in table:
                    raise SettingsError(f"merge {side} {name}={other}: {other!r} is merged itself: name its last class")
        left = tuple(name for name in names if name not in self.labels or name not in self.predictions)
        for subset in self.subsets.values():
            unknown = next((name for name in subset if name not in left), None)
            if unknown is not None:
                merged = " but merged into another" if unknown in names else ""
                raise SettingsError(f"classes names {unknown!r}, which is no class{merged}: {_known(left)}")
        return left

    def counts(self, counts: Counts, names: Sequence[str]) -> Counts:
        """The counts (L, L) of the classes that are left, of those (C, C) of a model's classes."""
        left = self.classes(names)
        rows, columns = (
            np.array([[table.get(name, name) == other for other in left] for name in names], np.int64)
            for table in (self.labels, self.predictions)
        )
        return rows.T @ counts @ columns


ALL_CLASSES = ClassView()


def read_view(classes: Sequence[str] = (), merge: Sequence[str] = ()) -> ClassView:
    """The view that `--classes` and `--merge` describe.

    classes  a name of SUBSETS or classes with commas between them, each
    merge    A=B,..., for both sides, or for one with "labels:" or "predictions:" before it; or a .toml file of A = "B",
             with tables [labels] and [predictions] for one side

    Raises SettingsError where they are something else; that classes exist is checked by `ClassView.classes`.
    """
    subsets = {
        text: SUBSETS.get(text) or tuple(dict.fromkeys(name.strip() for name in text.split(","))) for text in classes
    }
    tables: dict[str, dict[str, str]] = {side: {} for side in SIDES}
    for text in merge:
        for side, name, other in _merged(text):
            if tables[side].setdefault(name, other) != other:
                raise SettingsError(f"merge {text!r}: {name!r} is also merged into {tables[side][name]!r}: choose one")
    return ClassView(subsets, **tables)


def _merged(text: str) -> list[tuple[str, str, str]]:
    """Side, class and what it counts as."""
    if text.endswith(".toml"):
        table = read_toml(Path(text))
        one_side = {side: own for side in SIDES if isinstance(own := table.get(side, {}), dict)}
        both = {name: other for name, other in table.items() if name not in one_side}
        pairs = [(side, *pair) for side in SIDES for pair in {**both, **one_side.get(side, {})}.items()]
    else:
        side, colon, rest = text.partition(":")
        sides = (side,) if colon and side in SIDES else SIDES
        split = [part.partition("=") for part in (rest if len(sides) == 1 else text).split(",")]
        pairs = [(side, name.strip(), other.strip() or None) for side in sides for name, _, other in split]
    wrong = next((name for _, name, other in pairs if not name or not isinstance(other, str)), None)
    if wrong is not None:
        raise SettingsError(
            f"merge {text!r}: {wrong!r} has no class to count as: write A=B,..., labels:A=B,..., predictions:A=B,... "
            'or a .toml file of A = "B"'
        )
    return [(side, name, str(other)) for side, name, other in pairs]


def _known(names: Sequence[str]) -> str:
    return f"allowed are {', '.join(names)}"
