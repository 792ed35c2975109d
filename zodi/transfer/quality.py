"""How good a result is, told without any image of the target domain.

The judge is a segmenter trained on the *source* domain. It scores a result against the label, and the untouched source
image too: the ratio of the two is the layout agreement, so that what the judge cannot see in the source either is not
held against the result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zodi.labels import IGNORE, Ids, LabelSet
from zodi.transfer.images import Rgb

SHRINK = 2  # scores without a judge are taken at half size: noise counts less, and it costs a quarter
CONFIDENT = 0.9  # probability from which a judge may overrule a label (--mask-disagreement)

# Images (B, H, W, 3) uint8 -> train ids (B, H, W) uint8 and their probabilities (B, H, W) float32
Judge = Callable[[NDArray[np.uint8]], tuple[Ids, NDArray[np.float32]]]


def score(source: Rgb, result: Rgb, label: Ids, label_set: LabelSet) -> dict[str, Any]:
    """Scores that need no judge, for images (h, w, 3) and train ids (h, w).

    edges       correlation of the two images' gradient magnitudes, -1..1: 1 where all edges are kept
    distance    mean absolute difference to the source, 0..1: near 0 where nothing was transferred
    luma_sky, luma_road  mean brightness of the result there, 0..1; left out where the label has none
    """
    small = [Image.fromarray(image).reduce(SHRINK) for image in (source, result)]
    before, after = (np.asarray(image.convert("L"), np.float32) / np.float32(255) for image in small)
    colours = [np.asarray(image, np.int16) for image in small]
    scores = {
        "edges": _correlation(_edges(before), _edges(after)),
        "distance": float(np.abs(colours[0] - colours[1]).mean() / 255),
    }
    small_label = label[::SHRINK, ::SHRINK]
    for name in ("sky", "road"):
        ids = [c.train_id for c in label_set.classes if c.control == name and c.train_id != IGNORE]
        pixels = np.isin(small_label, ids)
        if pixels.any():
            scores[f"luma_{name}"] = float(after[pixels].mean())
    return {key: round(value, 4) for key, value in scores.items()}


def class_iou(predicted: Ids, label: Ids, num_classes: int) -> dict[int, float]:
    """IoU, 0..1, of each train id that the label (h, w) has; void pixels of the label do not count."""
    valid = label != IGNORE
    cells = label[valid].astype(np.int64) * (num_classes + 1) + np.minimum(predicted[valid], num_classes)
    counts = np.bincount(cells, minlength=num_classes * (num_classes + 1)).reshape(num_classes, num_classes + 1)
    hits = np.diagonal(counts)
    truth, found = counts.sum(1), counts[:, :num_classes].sum(0)
    return {int(c): float(hits[c] / (truth[c] + found[c] - hits[c])) for c in np.flatnonzero(truth)}


def layout_scores(on_source: Ids, on_result: Ids, label: Ids, names: Sequence[str]) -> dict[str, Any]:
    """The judge's view, from its train ids (h, w) on source and result.

    layout         mean IoU on the result relative to that on the source, 0..1 (capped): the layout agreement
    judge_source, judge_result  the two mean IoUs over the label's classes, 0..1
    classes        IoU on the result of each class of the label by name, 0..1
    """
    before, after = (class_iou(ids, label, len(names)) for ids in (on_source, on_result))
    mean_before, mean_after = (float(np.mean(list(iou.values()))) if iou else 0.0 for iou in (before, after))
    return {
        "layout": round(min(mean_after / mean_before, 1.0), 4) if mean_before else 0.0,
        "judge_source": round(mean_before, 4),
        "judge_result": round(mean_after, 4),
        "classes": {names[c]: round(value, 4) for c, value in after.items()},
    }


def disagreement(predicted: Ids, confidence: NDArray[np.float32], label: Ids) -> NDArray[np.bool_]:
    """Pixels (h, w) where a confident judge contradicts the label; void pixels are not contradicted."""
    doubtful: NDArray[np.bool_] = (label != IGNORE) & (predicted != label) & (confidence >= CONFIDENT)
    return doubtful


def summarise(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over results of every score, and of every class over the results that have it."""
    values: dict[str, list[float]] = {}
    classes: dict[str, list[float]] = {}
    for row in scores:
        for key, value in row.items():
            if key == "classes":
                for name, iou in value.items():
                    classes.setdefault(name, []).append(iou)
            else:
                values.setdefault(key, []).append(value)
    summary: dict[str, Any] = {key: round(float(np.mean(found)), 4) for key, found in values.items()}
    if classes:
        summary["classes"] = {name: round(float(np.mean(found)), 4) for name, found in sorted(classes.items())}
    return summary


def _edges(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gradient magnitude (h - 1, w - 1)."""
    down, right = luma[1:, :-1] - luma[:-1, :-1], luma[:-1, 1:] - luma[:-1, :-1]
    edges: NDArray[np.float32] = np.hypot(down, right)
    return edges


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Pearson's correlation, -1..1; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0
