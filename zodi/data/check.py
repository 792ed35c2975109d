"""Reads every file of a data set once: sizes, shares of the classes, and all that is wrong with it."""

import contextlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi.data.dataset import Dataset, Problem, Sample, in_brief
from zodi.data.images import count_frames, read_header, read_image
from zodi.data.label_files import check_pair, read_train_ids
from zodi.data.label_meaning import judge_labels
from zodi.errors import DataError
from zodi.labels import IGNORE

Size = tuple[int, int]  # height, width

HEADERS = 256  # of a data set that are read before a run: a part of a second


@dataclass(frozen=True)
class Report:
    """What a data set holds.

    sizes     how many readable images there are of each (height, width), the most frequent first
    classes   share of the pixels of all sound labels, 0..1, by the name of each trained class; with void they make 1
    problems  those of the index, then those of the files, by key
    notes     what is no problem and yet good to know, a line each
    """

    dataset: Dataset
    sizes: dict[Size, int]
    classes: dict[str, float]
    void_share: float
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def absent(self) -> tuple[str, ...]:
        """Trained classes of which no label has a pixel."""
        return tuple(name for name, share in self.classes.items() if share == 0)

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object with stable keys."""
        dataset = self.dataset
        return {
            "dataset": dataset.name,
            "root": str(dataset.root),
            "split": dataset.split,
            "condition": dataset.condition,
            "labels": dataset.labels,
            "label_set": dataset.label_set.name,
            "images": len(dataset.samples),
            "sizes": [{"height": h, "width": w, "images": count} for (h, w), count in self.sizes.items()],
            "classes": self.classes,
            "void_share": self.void_share,
            "problems": [{"path": str(p.path), "message": p.message} for p in self.problems],
            "notes": list(self.notes),
        }


def check_dataset(dataset: Dataset, *, workers: int = 1, progress: Callable[[int], None] | None = None) -> Report:
    """Decode every image and label of a data set opened with `strict=False`; a bad file is a problem, not an error.

    progress  called with the number of images done after each
    """
    sizes: Counter[Size] = Counter()
    pixels = np.zeros(256, np.int64)
    problems = list(dataset.problems)
    turned: list[str] = []
    several: list[str] = []
    pool = ThreadPoolExecutor(workers)
    try:
        for done, found in enumerate(pool.map(partial(_check_sample, dataset), dataset.samples), 1):
            sizes.update([found.size] if found.size is not None else [])
            pixels += found.counts
            problems += found.problems
            turned += found.turned
            several += found.several
            if progress is not None:
                progress(done)
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt the rest is not waited for
    judgement = judge_labels(dataset, dataset.samples)
    odd = list(judgement.odd)
    if judgement.wrong is not None and dataset.trust_labels:
        odd.append(judgement.wrong)
    elif judgement.wrong is not None:
        problems.append(Problem(dataset.root, judgement.wrong, "meaning"))
    shares = pixels / max(int(pixels.sum()), 1)
    return Report(
        dataset=dataset,
        sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        classes={name: float(shares[train_id]) for train_id, name in enumerate(dataset.label_set.names)},
        void_share=float(shares[IGNORE]),
        problems=tuple(problems),
        notes=(*odd, *_note_turned(turned), *note_several(several), *_note_names(dataset)),
    )


@dataclass(frozen=True)
class _Checked:
    """What one sample is like.

    size    of the image; None where it cannot be read
    counts  pixels of each train id of a sound label, (256,)
    turned  its files whose EXIF orientation is not 1, each with that
    several its files with several frames, each with their number
    """

    size: Size | None
    counts: NDArray[np.int64]
    problems: list[Problem]
    turned: list[str]
    several: list[str]


def _check_sample(dataset: Dataset, sample: Sample) -> _Checked:
    problems: list[Problem] = []
    image = label = None
    try:
        image = read_image(sample.image)
    except DataError as error:
        problems.append(Problem(sample.image, str(error).removeprefix(f"{sample.image}: ")))
    if sample.label is not None:  # a missing one is a problem of the index already
        try:
            label = read_train_ids(dataset, sample)
            if image is not None:
                check_pair(image, label, sample)
        except DataError as error:
            label = None
            problems.append(Problem(sample.label, str(error).removeprefix(f"{sample.label}: ")))
    counts = np.zeros(256, np.int64) if label is None else np.bincount(label.ravel(), minlength=256)
    read = [path for path, found in ((sample.image, image), (sample.label, label)) if path and found is not None]
    turned = [told for path in read for told in _turned(path)]
    several = [told for path in read for told in several_frames(path)]
    return _Checked(None if image is None else (image.shape[0], image.shape[1]), counts, problems, turned, several)


def before_run(dataset: Dataset) -> list[str]:
    """What to know of a data set before hours are spent on it, in few lines: the index's problems, turned pictures.

    Of a large data set only the headers of some images are read, evenly chosen.
    """
    turned: list[str] = []
    several: list[str] = []
    for sample in dataset.samples[:: len(dataset.samples) // HEADERS + 1]:
        with contextlib.suppress(DataError):  # a file that cannot be read is told when it is its turn
            turned += _turned(sample.image)
            several += several_frames(sample.image)
    return in_brief(dataset.problems) + _note_turned(turned) + note_several(several)


def _turned(path: Path) -> list[str]:
    tag = read_header(path).orientation
    return [] if tag == 1 else [f"{path} ({tag})"]


def several_frames(path: Path) -> list[str]:
    """A file with several frames, and how many; none where it has one. Raises DataError where it is no image."""
    frames = count_frames(path)
    return [] if frames == 1 else [f"{path} ({frames})"]


def note_several(files: list[str]) -> list[str]:
    """What to know of files with several frames, each given with their number: one line, or none."""
    if not files:
        return []
    return [
        f"files with several frames, of which the first is used: {len(files)}, e.g. {files[0]}: where the others "
        "count, save them as files of their own"
    ]


def _note_turned(files: list[str]) -> list[str]:
    if not files:
        return []
    return [
        f"files that their EXIF orientation turns upright: {len(files)}, e.g. {files[0]}: labels must fit the upright "
        "picture; where they were drawn on the stored pixels, remove the tags (exiftool -Orientation=)"
    ]


def _note_names(dataset: Dataset) -> list[str]:
    names = [str(sample.image) for sample in dataset.samples if not _is_utf8(str(sample.image))]
    if not names:
        return []
    return [f"images whose names are not UTF-8: {len(names)}, e.g. {names[0]}: other programs may not read them"]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 are lone surrogates in Python's names
        return False
    return True
