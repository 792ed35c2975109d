"""What a data set is to the rest of zodi: samples in order, and what their label files mean."""

import hashlib
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

    kind  what is wrong, the same for all files of which it is
    """

    path: Path
    message: str
    kind: str = ""


@dataclass(frozen=True)
class Dataset:
    """The samples of a data set, sorted by key, and how to read them.

    name                  the layout: "cityscapes", "acdc", "gta5", "camvid" or "folder"
    labels                what label files hold: "ids", "train-ids" or "colours"
    split, condition      as asked for; None means all
    image_root            the directory that keys are relative to
    unknown_ids_are_void  ids that the label set does not list are void, not an error
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
    trust_labels: bool = False

    @property
    def label_coding(self) -> str:
        """A digest of what turns label files into train ids: equal where they are read alike."""
        classes = sorted((c.id, c.train_id, c.colour) for c in self.label_set.classes)
        return hashlib.sha256(repr((self.labels, self.unknown_ids_are_void, classes)).encode()).hexdigest()[:16]


def in_brief(problems: Iterable[Problem]) -> list[str]:
    """One line for each kind of problem: the first file, and how many more there are."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return [
        f"{same[0].path}: {same[0].message}" + (f" ({len(same) - 1} more like it)" if len(same) > 1 else "")
        for same in kinds.values()
    ]
