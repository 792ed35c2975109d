"""Whether label files mean what is said of them, judged over a whole set by what they hold.

Ids, train ids, tones of colours and masks are all grey values, and nothing in a file says which. A set that is read
wrongly gives a training that learns nonsense without an error. So its values, the colours of its palettes and the
classes that they would make are compared with the other ways to read them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zodi.ahead import map_ahead
from zodi.data.dataset import Dataset, Sample
from zodi.data.label_files import LABEL_KINDS, UNLISTED, Stored, colour_ids, pack, read_stored
from zodi.errors import DataError
from zodi.labels import IGNORE, LabelSet

Counts = NDArray[np.int64]

LABELS = 256  # that are looked at before a run, evenly chosen
WORKERS = 4
STREET = frozenset({"road", "building", "vegetation", "sky", "car"})  # most of any street scene


@dataclass(frozen=True)
class Judgement:
    """What surely is wrong with the meaning of a set's labels, or else what is odd; a line each."""

    wrong: str | None = None
    odd: tuple[str, ...] = ()


def check_labels(dataset: Dataset, notify: Callable[[str], None] = lambda message: None) -> None:
    """Raise DataError where labels mean something else than is said; `notify` is told what is odd.

    At most 256 labels are read. Of a data set opened with `trust_labels` what is wrong is only told.
    """
    judgement = judge_labels(dataset, dataset.samples[:: len(dataset.samples) // LABELS + 1])
    if judgement.wrong is not None and not dataset.trust_labels:
        raise DataError(f"{dataset.root}: {judgement.wrong}; if they are right, go on with --trust-labels")
    for line in (judgement.wrong, *judgement.odd):
        if line is not None:
            notify(f"{dataset.root}: {line}")


def judge_labels(dataset: Dataset, samples: Sequence[Sample]) -> Judgement:
    """Judge the labels of all samples, or some; files that cannot be read are left out, whoever reads them says so."""
    evidence = _gather(dataset, samples)
    if not evidence.files:
        return Judgement()
    for reason in _wrong(dataset, evidence):
        return Judgement(wrong=f"the labels {reason}")
    return Judgement(odd=tuple(f"the labels {reason}" for reason in _odd(dataset, evidence)))


@dataclass
class _Evidence:
    """What the labels of a set hold, in pixels.

    values   of each value (257,), the last for pixels of files that have no values
    colours  of each id that a colour stands for (257,), the last for colours that are not listed, and for grey files
    channel  of each value (256,), of RGB files that are grey
    denied   files whose palette has the colours of the label set, but at other values than the kind of labels says
    files    how many were read
    """

    values: Counts = field(default_factory=lambda: np.zeros(UNLISTED + 1, np.int64))
    colours: Counts = field(default_factory=lambda: np.zeros(UNLISTED + 1, np.int64))
    channel: Counts = field(default_factory=lambda: np.zeros(256, np.int64))
    denied: list[Path] = field(default_factory=list)
    files: int = 0


def _gather(dataset: Dataset, samples: Sequence[Sample]) -> _Evidence:
    evidence, label_set = _Evidence(), dataset.label_set
    for sample, stored in map_ahead(lambda sample: (sample, _read(dataset, sample)), samples, WORKERS, 4 * WORKERS):
        if stored is None:
            continue
        values, colours = _pixels(stored, label_set)
        evidence.files += 1
        evidence.values += values
        evidence.colours += colours
        if stored.channel is not None:
            evidence.channel += np.bincount(stored.channel.ravel(), minlength=256)
        if dataset.labels != "colours" and _is_denied(stored, values, dataset.labels, label_set):
            evidence.denied.append(sample.label or sample.image)
    return evidence


def _read(dataset: Dataset, sample: Sample) -> Stored | None:
    with suppress(DataError):
        return read_stored(sample, wide_ids=dataset.wide_ids)
    return None


def _pixels(stored: Stored, label_set: LabelSet) -> tuple[Counts, Counts]:
    values = colours = np.zeros(UNLISTED + 1, np.int64)
    if stored.values is not None:
        values = np.bincount(stored.values.ravel(), minlength=UNLISTED + 1)
        colours = np.append(np.zeros(UNLISTED, np.int64), values.sum())
    if stored.palette is not None:
        ids = colour_ids(stored.palette, label_set)
        colours = np.bincount(ids, weights=values[:UNLISTED], minlength=UNLISTED + 1).astype(np.int64)
    if stored.colours is not None:
        colours = np.bincount(colour_ids(stored.colours, label_set).ravel(), minlength=UNLISTED + 1)
        values = np.append(np.zeros(UNLISTED, np.int64), colours.sum())
    return values, colours


def _is_denied(stored: Stored, values: Counts, kind: str, label_set: LabelSet) -> bool:
    """Whether a palette holds the colours of the label set's classes, and not at the values of the kind."""
    if stored.palette is None:
        return False
    shown = np.where(
        stored.palette != 0, values[:UNLISTED], 0
    )  # black stands for void in most palettes, or for nothing
    listed = np.where(colour_ids(stored.palette, label_set) != UNLISTED, shown, 0)
    right = stored.palette == pack(label_set.palette if kind == "train-ids" else label_set.id_colours)
    # other palettes share some colours with the label set by chance
    is_palette = len(set(stored.palette[listed > 0].tolist())) > 2 and listed.sum() > 0.995 * shown.sum()
    return bool(is_palette and listed[~right].sum() > 0.02 * shown.sum())


def _wrong(dataset: Dataset, evidence: _Evidence) -> Iterator[str]:
    """What speaks against the kind of labels, the surest first."""
    label_set, kind = dataset.label_set, dataset.labels
    stated = _reading(label_set, kind, evidence)
    if evidence.denied:
        yield (
            f"have palettes that contradict their values in {len(evidence.denied)} of {evidence.files} files, e.g. "
            f"{evidence.denied[0]}: the colours are those of label set {label_set.name!r}, the values are not its "
            f"{_plural(kind)}: give --labels {_kind_of_palettes(evidence.denied, kind, label_set)}"
        )
    if evidence.channel.sum() == evidence.colours.sum() and evidence.channel[1:].any():
        yield "are RGB files whose channels are equal, so that they hold values and no colours: save one as a grey PNG"
    if kind != "colours" and _are_masks(label_set, kind, evidence.values):
        yield (
            f"hold 0 and 255 alone, as masks of one thing do, of which label set {label_set.name!r} does not make two "
            "classes: save them with 0 and 1, and give a --label-set of two classes"
        )
    for other in LABEL_KINDS:
        reading = _reading(label_set, other, evidence)
        if other != kind and _fits_better(reading, stated, dataset):
            yield f"{_compared(kind, stated)}, {_compared(other, reading)}: give --labels {other}"
    if kind != "colours" and _are_tones(label_set, evidence.values) and stated.unlisted > 0.3:
        yield (
            f"hold grey tones of the colours of label set {label_set.name!r}, not its {_plural(kind)}: a program has "
            "converted them to grey: take the files from before"
        )
    if stated.unlisted > 0.5:
        yield (
            f"hold what label set {label_set.name!r} does not list in {_per_cent(stated.unlisted)} of their pixels: "
            "give the --label-set of these labels"
        )
    if stated.void + stated.unlisted > 1 - 1e-9:
        yield "are void in every pixel, as those of a withheld test split: check --split, --labels and --label-set"


def _odd(dataset: Dataset, evidence: _Evidence) -> Iterator[str]:
    stated = _reading(dataset.label_set, dataset.labels, evidence)
    valid = 1 - stated.void - stated.unlisted
    if valid < 0.5:
        yield f"are void in {_per_cent(1 - valid)} of their pixels: look at them with zodi data check"
    if stated.can_be_street and stated.street < 0.2 * valid:
        yield (
            f"are road, building, vegetation, sky and car in {_per_cent(stated.street / valid)} of their valid pixels, "
            "of street scenes in most: look at them with zodi data check"
        )


@dataclass(frozen=True)
class _Reading:
    """What one kind of labels makes of the values: shares of all pixels, 0..1.

    street         of road, building, vegetation, sky and car
    can_be_street  the label set has these classes
    classes        how many trained ones there are
    by_class       of each train id, (257,), the last for what is not listed
    """

    void: float
    unlisted: float
    street: float
    can_be_street: bool
    classes: int
    by_class: tuple[float, ...]


def _reading(label_set: LabelSet, kind: str, evidence: _Evidence) -> _Reading:
    table = np.full(UNLISTED + 1, UNLISTED)  # from value, or id of a colour, to train id
    if kind == "train-ids":
        table[: label_set.num_classes] = range(label_set.num_classes)
        table[IGNORE] = IGNORE
    else:
        listed = sorted(label_set.ids)
        table[listed] = label_set.id_to_train_id[listed]
    counts = evidence.colours if kind == "colours" else evidence.values
    shares = np.bincount(table, weights=counts, minlength=UNLISTED + 1) / max(int(counts.sum()), 1)
    street = {c.train_id for c in label_set.classes if c.control in STREET} - {IGNORE}
    return _Reading(
        void=float(shares[IGNORE]),
        unlisted=float(shares[UNLISTED]),
        street=float(shares[sorted(street)].sum()),
        can_be_street={c.control for c in label_set.classes if c.train_id != IGNORE} >= STREET,
        classes=int(np.count_nonzero(shares[:IGNORE])),
        by_class=tuple(shares.tolist()),
    )


def _fits_better(other: _Reading, stated: _Reading, dataset: Dataset) -> bool:
    """Whether another kind lists all values and makes of them what labels are expected to be, unlike the stated."""
    if other.unlisted or other.by_class == stated.by_class:
        return False
    may_be_unlisted = dataset.labels == "ids" and dataset.unknown_ids_are_void
    if stated.unlisted and not may_be_unlisted and other.void < 0.5:
        return True
    if stated.can_be_street:
        return other.classes >= 5 and other.street > 0.3 and stated.street < other.street / 2
    return stated.void > 0.5 and other.void < stated.void / 2


def _compared(kind: str, reading: _Reading) -> str:
    void = _per_cent(reading.void + reading.unlisted)
    street = f" and street in {_per_cent(reading.street)}" if reading.can_be_street else ""
    return f"read as {_plural(kind)} are void or not listed in {void} of their pixels{street}"


def _kind_of_palettes(denied: list[Path], kind: str, label_set: LabelSet) -> str:
    """The kind of labels by which files agree with their palettes; by their colours they always do."""
    other = "ids" if kind == "train-ids" else "train-ids"
    for path in denied:
        stored = read_stored(Sample("", path, path))
        if _is_denied(stored, _pixels(stored, label_set)[0], other, label_set):
            return "colours"
    return other


def _are_masks(label_set: LabelSet, kind: str, values: Counts) -> bool:
    is_class = kind == "ids" and label_set.id_to_train_id[255] != IGNORE
    return np.flatnonzero(values).tolist() == [0, 255] and not is_class


def _are_tones(label_set: LabelSet, values: Counts) -> bool:
    """Whether the values are the set's colours turned to grey, by ITU-R BT.601 as most programs do it."""
    tones = np.rint(np.array([c.colour for c in label_set.classes]) @ (0.299, 0.587, 0.114)).astype(int)
    near = np.unique([tones - 1, tones, tones + 1]).clip(0, 255)  # programs round differently
    return bool(values[near].sum() > 0.99 * values.sum() and np.count_nonzero(values) > 2)


def _plural(kind: str) -> str:
    return kind.replace("-", " ")


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"
