"""Looked at before the first step: that images and labels fit, by their headers, and hold something to learn."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample, read_train_ids
from zodi.data.images import read_header
from zodi.errors import DataError
from zodi.labels import IGNORE, Ids, LabelSet
from zodi.segmenter.failures import Failures
from zodi.segmenter.images import read_pair, resize_label

Size = tuple[int, int]
AHEAD = 32  # headers that are read ahead, by each worker


def check_pairs(dataset: Dataset, samples: Sequence[Sample], failures: Failures, workers: int, needed: int) -> None:
    """Find images and labels that are of no image format or differ in size, by their headers alone.

    What a header speaks against is read as a whole, which decides. Raises DataError where more fail than are allowed,
    and where fewer than `needed` are left.
    """

    def fits(sample: Sample) -> bool:
        sizes = [stated_size(path) for path in files_of(sample)]
        return (None not in sizes and len(set(sizes)) == 1) or (
            failures.read(files_of(sample), lambda: read_pair(dataset, sample)) is not None
        )

    left = sum(map_ahead(fits, samples, workers, AHEAD * workers))
    if left < needed:
        raise DataError(
            f"{dataset.root}: {left} of {len(samples)} images can be used with their labels, needed are {needed}: "
            f"{failures.messages[-1]}"
        )


def check_trainable(label_set: LabelSet, labels: Iterable[Ids], where: str, failures: Failures) -> None:
    """Raise DataError unless train ids of two classes are among the labels; reads no more of them than it takes."""
    if label_set.num_classes < 2:
        raise one_class(label_set)
    if len(seen := _classes(labels, where, failures, enough=2)) == 1:
        raise DataError(
            f"{where}: has pixels of one class alone, {label_set.names[seen.pop()]!r}, and nothing to tell it from: "
            "check --labels and --label-set with zodi data check"
        )


def check_valid(labels: Iterable[Ids], where: str, failures: Failures) -> None:
    """Raise DataError unless a pixel of a trained class is among the labels; reads no more of them than it takes."""
    _classes(labels, where, failures, enough=1)


def one_class(label_set: LabelSet) -> DataError:
    """The error for a label set that leaves nothing to decide."""
    return DataError(
        f"label set {label_set.name!r} has one trained class, {label_set.names[0]!r}: every prediction would be right: "
        "give what is around it a train_id of its own, e.g. as class background"
    )


def all_void(where: str) -> DataError:
    """The error for labels without a pixel of a trained class."""
    return DataError(
        f"{where}: has no pixel of a trained class, all are void: check --labels and --label-set with zodi data check"
    )


def _classes(labels: Iterable[Ids], where: str, failures: Failures, *, enough: int) -> set[int]:
    """Train ids in labels (H, W), void left out, until there are `enough`; DataError where there are none."""
    seen: set[int] = set()
    read = False
    for ids in labels:
        read = True
        seen.update(np.flatnonzero(np.bincount(ids.ravel(), minlength=256)[:IGNORE]).tolist())
        if len(seen) >= enough:
            return seen
    if not read and failures.messages:
        raise DataError(f"{where}: no label can be used: {failures.messages[-1]}")
    if not seen:
        raise all_void(where)
    return seen


def labels_of(
    dataset: Dataset, samples: Iterable[Sample], failures: Failures, size: Size | None = None
) -> Iterator[Ids]:
    """The train ids (H, W) of all labels that can be read, one after the other, at `size` or their own."""
    for sample in samples:
        ids = failures.read(files_of(sample), _reader(dataset, sample))
        if ids is not None:
            yield ids if size is None else resize_label(ids, size)


def stated_size(path: Path) -> Size | None:
    """(height, width) that a picture's header states, upright; None where it has none, reading says what is wrong."""
    try:
        return read_header(path).size
    except DataError:
        return None


def files_of(sample: Sample) -> tuple[Path, ...]:
    """The files that a sample is read from."""
    return tuple(path for path in (sample.image, sample.label) if path is not None)


def _reader(dataset: Dataset, sample: Sample) -> Callable[[], Ids]:
    return lambda: read_train_ids(dataset, sample)
