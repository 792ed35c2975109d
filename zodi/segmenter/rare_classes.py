"""Rare-class sampling (Hoyer et al., DAFormer, arXiv 2111.14887, section 3.2): images by the classes that they have."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zodi.segmenter.metrics import Counts, Ratios


@dataclass(frozen=True)
class Draw:
    """One image of an epoch.

    index   of the image in the data set
    number  what its augmentation is drawn by, beside seed and epoch
    wanted  the class that its crop should have, or None
    """

    index: int
    number: int
    wanted: int | None = None


@dataclass(frozen=True)
class RareClasses:
    """With which probability each class is drawn, (C,), and the indices of the images that have it."""

    probabilities: Ratios
    images: tuple[NDArray[np.intp], ...]

    def epoch(self, seed: int, epoch: int, count: int) -> list[Draw]:
        """`count` images of an epoch: for each a class is drawn, then one of its images. The same for the same seed."""
        rng = np.random.default_rng([seed, epoch])
        classes = rng.choice(len(self.probabilities), size=count, p=self.probabilities)
        places = rng.random(count)
        found = [self.images[c][int(place * len(self.images[c]))] for c, place in zip(classes, places, strict=True)]
        return [Draw(int(index), number, int(c)) for number, (index, c) in enumerate(zip(found, classes, strict=True))]


def rare_classes(counts: Counts, temperature: float, pixels: int) -> RareClasses:
    """The softmax of (1 - share of all pixels) / temperature over the classes that are there.

    counts  (N, C) pixels of each class in each image
    pixels  an image must have of a class to be drawn for it; of a class that no image has as many of, those with any
    """
    total = counts.sum(axis=0)
    exponents = np.where(total > 0, (1 - total / total.sum()) / temperature, -np.inf)
    weights = np.exp(exponents - exponents.max())
    enough = counts >= pixels
    enough = np.where(enough.any(axis=0), enough, counts > 0)
    return RareClasses(weights / weights.sum(), tuple(np.flatnonzero(column) for column in enough.T))
