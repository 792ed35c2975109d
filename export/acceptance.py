"""Whether a file computes what the checkpoint computes in PyTorch, on real samples: figures, and what they must be."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zodi.export.parity import TOLERANCE
from zodi.export.precision import precision_floor, spread_error
from zodi.export.segmenter_onnx import FromPixels
from zodi.segmenter.checkpoint import Segmenter
from zodi.segmenter.info import FileInfo
from zodi.segmenter.metrics import count_confusion, mean_iou
from zodi.segmenter.probe import Probe

Pixels = NDArray[np.uint8]
RunImages = Callable[[Pixels], NDArray[Any]]  # (B, H, W, 3) to ids (B, H, W) or logits (B, C, H, W)


@dataclass(frozen=True)
class Samples:
    """Images (H, W, 3) at the file's size, and their train ids (H, W) where labels for the model's classes exist."""

    name: str
    images: Sequence[Pixels]
    labels: Sequence[Pixels] | None


@dataclass(frozen=True)
class Reference:
    """What PyTorch computes in fp32.

    ids     (N, H, W), train ids of all samples
    probes  batches of images at each size that is tried, and their logits
    floor   rounding error that the precision cannot do without, in units of the logits' spread; None: not known
    miou    0..1; NaN without labels
    """

    samples: Samples
    ids: Pixels
    probes: Sequence[tuple[Pixels, torch.Tensor]]
    floor: float | None
    miou: float


@torch.inference_mode()
def make_reference(segmenter: Segmenter, samples: Samples, file: FileInfo) -> Reference:
    """Run all samples through the net in eager PyTorch, on the CPU."""
    module = FromPixels(segmenter).eval()
    predicted = []
    for image in samples.images:
        (logits,) = module(torch.tensor(image[None]))
        predicted.append(logits[0].argmax(dim=0).to(torch.uint8).numpy())
    ids = np.stack(predicted)
    probes = [(images, module(torch.tensor(images))[0]) for images in _probes(samples, file, Probe(segmenter.net))]
    floor = None
    if file.precision != "int8":
        planes = module.normalised(torch.tensor(samples.images[0][None]))
        floor = precision_floor(segmenter.net, [planes], list(segmenter.net(planes)), file.precision)
    return Reference(samples, ids, probes, floor, _miou(samples, ids, file))


def measure(reference: Reference, predict: RunImages, logits: RunImages | None, file: FileInfo) -> dict[str, Any]:
    """Figures of a file beside PyTorch's.

    Returns {"images", "logits_error", "logits_floor" (both in units of the logits' spread), "logits_largest_error",
    "pixel_agreement" 0..1, "miou_torch", "miou_file" 0..1, "drop_points"}; None for what is not known.

    drop_points  how much lower the mIoU is, in per cent points; without labels the share of pixels that differ
    """
    samples, figures = reference.samples, {"images": len(reference.samples.images)}
    ids = np.concatenate([predict(image[None]) for image in samples.images])
    agreement = float((ids == reference.ids).mean())
    miou = _miou(samples, ids, file)
    drop = 100 * (1 - agreement) if math.isnan(miou) else 100 * (reference.miou - miou)
    error = largest = None
    if logits is not None:
        pairs = [(torch.from_numpy(logits(images)), expected) for images, expected in reference.probes]
        error = max(spread_error(given, expected) for given, expected in pairs)
        largest = max(float((given - expected).abs().max()) for given, expected in pairs)
    return {
        **figures,
        "logits_error": error,
        "logits_floor": reference.floor,
        "logits_largest_error": largest,
        "pixel_agreement": agreement,
        "miou_torch": None if math.isnan(reference.miou) else reference.miou,
        "miou_file": None if math.isnan(miou) else miou,
        "drop_points": drop,
    }


def refusals(figures: dict[str, Any], max_drop: float) -> list[str]:
    """Why a file must not leave, one line each; none is good. `max_drop` is in per cent points."""
    found = []
    error, floor = figures["logits_error"], figures["logits_floor"]
    allowed = math.inf if floor is None else TOLERANCE * floor
    if error is not None and not error <= allowed:
        found.append(f"its logits are off by {error:.1e} of their spread, rounding explains {allowed:.1e}")
    if not figures["drop_points"] <= max_drop:
        if figures["miou_file"] is None:
            what = f"{100 * (1 - figures['pixel_agreement']):.2f} % of pixels differ from PyTorch's"
        else:
            before, after = 100 * figures["miou_torch"], 100 * figures["miou_file"]
            what = f"mIoU falls from {before:.2f} to {after:.2f}, by {figures['drop_points']:.2f} points"
        found.append(f"{what}, allowed are {max_drop:g} points")
    return found


def _probes(samples: Samples, file: FileInfo, probe: Probe) -> list[Pixels]:
    """Batches to compare logits on: the usual one; where the batch varies also another, where the size varies too."""
    images = [samples.images[i % len(samples.images)] for i in range(2)]
    if file.dynamic == "none":
        return [np.stack([images[i % 2] for i in range(file.batch[1])])]
    found = [images[0][None], np.stack(images)] if file.batch[2] > 1 else [images[0][None]]
    if file.dynamic == "all":
        height, width = _other_size(file, probe)
        twice = np.concatenate([images[1]] * 2, axis=1)
        found.append(np.ascontiguousarray(twice[None, -height:, -width:]))
    return found


def _other_size(file: FileInfo, probe: Probe) -> tuple[int, int]:
    """Half of the usual (height, width), as little more as the net needs, or twice as wide where it needs the usual."""
    height, width = file.model.size
    half = max(file.multiple, height // 2), max(file.multiple, width // 2)
    half = half[0] // file.multiple * file.multiple, half[1] // file.multiple * file.multiple
    found = half if probe.refusal(half) is None else probe.fitting(half)
    if found is None or found == file.model.size or found[0] > height or found[1] > 2 * width:
        return height, 2 * width
    return found


def _miou(samples: Samples, ids: Pixels, file: FileInfo) -> float:
    if samples.labels is None:
        return math.nan
    classes, ignore = len(file.model.classes), file.model.ignore
    pairs = zip(samples.labels, ids, strict=True)
    return mean_iou(sum(count_confusion(truth, given, classes, ignore=ignore) for truth, given in pairs))  # type: ignore[arg-type]
