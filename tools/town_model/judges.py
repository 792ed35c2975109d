"""Judges: segmenters trained on rendered scenes of a domain say what of a scene survives the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import Segmenter, load_checkpoint
from zodi.segmenter.metrics import class_iou, count_confusion, mean_iou

Images = Sequence[NDArray[np.uint8]]
Counts = NDArray[np.int64]
CLASSES = CITYSCAPES_19.num_classes
BATCH = 8


def judge_domain(
    directory: Path, labels: Images, rendered: Images, round_trip: Images, transferred: Images | None
) -> dict[str, Any]:
    """The judge's mIoU on rendered, decoded and transferred scenes of its domain, and their ratios.

    transferred  None for a domain that nothing is transferred to
    `other_label` compares each transferred image with the label of the next scene: what chance and habit reach
    """
    judge = load_checkpoint(directory)
    decoded = confusion(judge, round_trip, labels)
    result: dict[str, Any] = {
        "miou_rendered": mean_iou(confusion(judge, rendered, labels)),
        "miou_round_trip": mean_iou(decoded),
    }
    result["round_trip_share"] = result["miou_round_trip"] / result["miou_rendered"]
    if transferred is not None:
        counts = confusion(judge, transferred, labels)
        result["miou_transferred"] = mean_iou(counts)
        result["miou_other_label"] = mean_iou(confusion(judge, transferred, [*labels[1:], labels[0]]))
        result["transferred_share"] = result["miou_transferred"] / result["miou_round_trip"]
        result["other_label_share"] = result["miou_other_label"] / result["miou_transferred"]
        result["iou_round_trip"] = by_class(decoded)
        result["iou_transferred"] = by_class(counts)
    return result


def by_class(counts: Counts) -> dict[str, float]:
    """Intersection over union of the classes that the labels hold."""
    ious = class_iou(counts)
    return {name: float(ious[i]) for i, name in enumerate(CITYSCAPES_19.names) if counts[i].sum()}


@torch.inference_mode()
def confusion(judge: Segmenter, images: Images, labels: Images) -> Counts:
    """Counts (C, C) over all images, at their own size."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (judge.info.mean, judge.info.std))
    net: nn.Module = judge.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for start in range(0, len(images), BATCH):
        planes = torch.from_numpy(np.stack(images[start : start + BATCH])).permute(0, 3, 1, 2) / 255.0
        predicted = net((planes - mean) / std)[:, :CLASSES].argmax(1).byte().numpy()
        counts += count_confusion(np.stack(labels[start : start + BATCH]), predicted, CLASSES)
    return counts
