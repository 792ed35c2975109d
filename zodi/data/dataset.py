"""What a data set is to the rest of zodi: samples in order, and what their label files mean."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zodi.labels import LabelSet


@dataclass(frozen=True)
class Sample:
    """An image and its label.

    key    path of the image under the image root, without suffix, with "/": unique, names all made of it
    label  None where the data set has no label for the image
    """

    key: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a file of a data set; the message is one line that says what to do.

    kind  what is wrong, the same for all files of which it is; where it is not stated, messages that differ only in
          numbers and paths are of one
    """

    path: Path
    message: str
    kind: str = ""

    @property
    def cause(self) -> str:
        """What is the same for all files of which one line can speak."""
        without = re.sub(r"\d+", "#", re.sub(r"\S*/\S*", "*", self.message))
        return self.kind or re.sub(r"(\S+ \(# pixels\)(, )?|and # more )+", "#", without)


@dataclass(frozen=True)
class Dataset:
    """The samples of a data set, sorted by key, and how to read them.

    name                  the layout, one of `zodi.data.index.LAYOUTS`
    labels                what label files hold: "ids", "train-ids" or "colours"
    split, condition      as asked for; None means all
    image_root            the directory that keys are relative to
    unknown_ids_are_void  ids that the label set does not list are void, not an error
    wide_ids              ids are in the red of 16-bit RGB files, as SYNTHIA's
    trust_labels          labels are what `labels` says, whatever they look like
    problems              what the index found: images without label, labels without image, files that are left out
    """

    name: str
    root: Path
    samples: tuple[Sample, ...]
    label_set: LabelSet
    labels: str
    split: str | None
    condition: str | None
    image_root: Path
    unknown_ids_are_void: bool
    problems: tuple[Problem, ...]
    wide_ids: bool = False
    trust_labels: bool = False

    @property
    def label_coding(self) -> str:
        """A digest of what turns label files into train ids: equal where they are read alike."""
        classes = sorted((c.id, c.train_id, c.colour) for c in self.label_set.classes)
        return hashlib.sha256(repr((self.labels, self.unknown_ids_are_void, classes)).encode()).hexdigest()[:16]


def in_brief(problems: Iterable[Problem], *, examples: int = 0) -> list[str]:
    """One line for each cause: what is wrong with the first file, how many more there are, and some of them."""
    causes: dict[str, list[Problem]] = {}
    for problem in problems:
        causes.setdefault(problem.cause, []).append(problem)
    return [f"{same[0].path}: {same[0].message}{_more(same[1:], examples)}" for same in causes.values()]


def _more(others: list[Problem], examples: int) -> str:
    named = ", ".join(str(problem.path) for problem in others[:examples])
    return f" ({len(others)} more like it{f', e.g. {named}' if named else ''})" if others else ""
