"""Scores of a segmentation: counts first, ratios after.

Counts are a confusion matrix, int64 (C, C), rows = truth, columns = prediction, that adds up over images, batches and
data sets. A class that is neither in the truth nor predicted is absent: its ratio is NaN and no mean contains it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zodi.labels import IGNORE

Counts = NDArray[np.int64]
Ratios = NDArray[np.float64]
Ids = NDArray[np.uint8]


def count_confusion(truth: Ids, prediction: Ids, classes: int, *, ignore: int = IGNORE) -> Counts:
    """Counts (C, C) of one image or many.

    truth       train ids of any shape, 0..C-1; pixels with `ignore` are left out
    prediction  train ids of the same shape, 0..C-1 wherever the truth is not `ignore`

    Raises ValueError for other shapes and for ids out of range.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}")
    valid = truth != ignore
    rows, columns = truth[valid], prediction[valid]
    for name, ids in (("truth", rows), ("prediction", columns)):
        if ids.size and ids.max() >= classes:
            raise ValueError(f"{name} has id {ids.max()}, allowed are 0 to {classes - 1}")
    counts = np.bincount(rows.astype(np.int64) * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def class_iou(counts: Counts) -> Ratios:
    """Intersection over union per class (C,), 0..1; NaN for a class in neither truth nor prediction."""
    hits = np.diag(counts).astype(np.float64)
    return _ratio(hits, counts.sum(axis=1) + counts.sum(axis=0) - hits)


def mean_iou(counts: Counts, classes: Sequence[int] | None = None) -> float:
    """Mean of `class_iou` over the classes that are not absent, 0..1; NaN where all are.

    classes  train ids that the mean is of; None: all. Their pixels are still compared with those of all classes

    As in Cityscapes' evaluation a class that is predicted but not in the truth has the score 0.
    """
    iou = class_iou(counts) if classes is None else class_iou(counts)[list(classes)]
    present = iou[~np.isnan(iou)]
    return float(present.mean()) if present.size else float("nan")


def pixel_accuracy(counts: Counts) -> float:
    """Share of pixels whose prediction is right, 0..1; NaN where there is no truth."""
    return float(_ratio(np.array([np.trace(counts)], np.float64), counts.sum(keepdims=True).reshape(1))[0])


def _ratio(part: Ratios, whole: NDArray[np.float64] | Counts) -> Ratios:
    ratios: Ratios = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratios
