"""Reads every file of a data set once: sizes, shares of the classes, and all that is wrong with it."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi.data.dataset import Dataset, Problem, Sample
from zodi.data.images import read_image
from zodi.data.label_files import check_pair, read_train_ids
from zodi.errors import DataError
from zodi.labels import IGNORE

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Report:
    """What a data set holds.

    sizes     how many readable images there are of each (height, width), the most frequent first
    classes   share of the pixels of all sound labels, 0..1, by the name of each trained class; with void they make 1
    problems  those of the index, then those of the files, by key
    """

    dataset: Dataset
    sizes: dict[Size, int]
    classes: dict[str, float]
    void_share: float
    problems: tuple[Problem, ...]

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
        }


def check_dataset(dataset: Dataset, *, workers: int = 1, progress: Callable[[int], None] | None = None) -> Report:
    """Decode every image and label of a data set opened with `strict=False`; a bad file is a problem, not an error.

    progress  called with the number of images done after each
    """
    sizes: Counter[Size] = Counter()
    pixels = np.zeros(256, np.int64)
    problems = list(dataset.problems)
    pool = ThreadPoolExecutor(workers)
    try:
        for done, (size, counts, found) in enumerate(pool.map(partial(_check_sample, dataset), dataset.samples), 1):
            sizes.update([size] if size is not None else [])
            pixels += counts
            problems += found
            if progress is not None:
                progress(done)
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt the rest is not waited for
    shares = pixels / max(int(pixels.sum()), 1)
    return Report(
        dataset=dataset,
        sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        classes={name: float(shares[train_id]) for train_id, name in enumerate(dataset.label_set.names)},
        void_share=float(shares[IGNORE]),
        problems=tuple(problems),
    )


def _check_sample(dataset: Dataset, sample: Sample) -> tuple[Size | None, NDArray[np.int64], list[Problem]]:
    """Size of the image (None: unreadable), pixels of each train id (256,) of a sound label, and what is wrong."""
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
    return (None if image is None else (image.shape[0], image.shape[1])), counts, problems
