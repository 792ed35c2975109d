"""The score of a segmenter on transferred images: an estimate for the target domain that needs no target image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi.adapt.loading import read_partners
from zodi.adapt.pairs import Pair, Partner, find_pairs, in_holdout
from zodi.ahead import map_ahead
from zodi.data import Dataset
from zodi.errors import DataError
from zodi.segmenter.checks import all_void, labels_of, one_class
from zodi.segmenter.failures import Failures
from zodi.segmenter.images import Pixels
from zodi.segmenter.metrics import Counts, class_iou, count_confusion, mean_iou

INTERVAL = 0.95
AHEAD = 4

# images (B, H, W, 3) uint8 -> train ids (B, H, W) and their probabilities
Judge = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.float32]]]


@dataclass(frozen=True)
class Estimate:
    """The estimate for one domain.

    counts    (N, C, C) of each image
    low, high bounds of the interval that resampled sets of images reach in 95 % of the cases, 0..1
    """

    domain: str
    counts: Counts
    low: float
    high: float

    def as_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Fractions 0..1; null for what is absent."""
        total = self.counts.sum(axis=0)
        ious = class_iou(total)
        return {
            "domain": self.domain,
            "images": len(self.counts),
            "miou": mean_iou(total),
            "low": None if np.isnan(self.low) else self.low,
            "high": None if np.isnan(self.high) else self.high,
            "iou": {name: None if np.isnan(iou) else float(iou) for name, iou in zip(classes, ious, strict=True)},
        }


def estimate(
    judge: Judge,
    dataset: Dataset,
    synthetic: Sequence[Path],
    *,
    holdout: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    workers: int = 2,
    failures: Failures | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> list[Estimate]:
    """One estimate for each domain of transferred images, by the labels of their sources.

    judge    a segmenter of the data set's classes, see `zodi.segmenter.judge.open_judge`
    holdout  only the images that an adaptation with this holdout kept out; None: all. A segmenter that was trained on
             an image's scene does better on it than on the target
    failures  images and labels that cannot be used, which are left out; None: the first is an error
    The interval is a bootstrap over images (Efron 1979): it says how much the choice of scenes matters, not how far
    transferred images are from real ones.

    Raises DataError where images are missing, none is left, or there is nothing to score in a domain.
    """
    failures = failures or Failures()  # where nobody is told, nothing is left out
    if dataset.label_set.num_classes < 2:
        raise one_class(dataset.label_set)
    pairs = [p for p in find_pairs(dataset, synthetic) if holdout is None or in_holdout(p.sample.key, holdout)]
    if not pairs:
        raise DataError(f"{dataset.root}: holdout {holdout} leaves no image: use the share that zodi adapt was given")
    classes = dataset.label_set.num_classes
    total = sum(len(pair.partners) for pair in pairs)
    found: dict[str, list[Counts]] = {}
    for done, (partner, array) in enumerate(_read(dataset, pairs, workers, failures), start=1):
        ids, _ = judge(np.ascontiguousarray(array[None, ..., :3]))
        found.setdefault(partner.domain, []).append(count_confusion(array[..., 3], ids[0], classes))
        if on_progress is not None:
            on_progress(done, total, partner.domain)
    wanted = {partner.domain for pair in pairs for partner in pair.partners}
    for name in sorted(wanted):
        if name not in found:
            raise DataError(f"{dataset.root}: no image of domain {name!r} can be used: {failures.messages[-1]}")
        if not np.any(found[name]):
            raise all_void(f"{dataset.root}: what is scored in domain {name!r}")
    rng = np.random.default_rng(seed)
    return [
        Estimate(domain, np.stack(counts), *bootstrap(np.stack(counts), rng, resamples))
        for domain, counts in found.items()
    ]


def bootstrap(counts: Counts, rng: np.random.Generator, resamples: int) -> tuple[float, float]:
    """The bounds of the middle 95 % of the mIoU of `resamples` sets of images drawn with replacement.

    counts  (N, C, C) of each image

    NaN for both where no set has a pixel that counts.
    """
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    scores = [mean_iou(np.tensordot(row, counts, axes=1)) for row in weights]
    known = [score for score in scores if not np.isnan(score)] or [np.nan]
    low, high = np.quantile(known, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


def _read(
    dataset: Dataset, pairs: Sequence[Pair], workers: int, failures: Failures
) -> Iterator[tuple[Partner, Pixels]]:
    """Each partner that can be read with its image and train ids at the image's own size, (H, W, 4)."""

    def read(pair: Pair) -> list[tuple[Partner, Pixels]]:
        labels = labels_of(dataset, [pair.sample], failures)
        return [found for label in labels for found in read_partners(pair, label, failures)]

    for arrays in map_ahead(read, pairs, workers, AHEAD):
        yield from arrays
