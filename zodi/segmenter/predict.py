"""Class scores of images: whole or by sliding windows, at one scale or several, with or without the mirror image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zodi.errors import SettingsError
from zodi.segmenter.checkpoint import Segmenter
from zodi.segmenter.images import window_starts
from zodi.segmenter.info import SegmenterInfo
from zodi.segmenter.nets import as_segmenter
from zodi.segmenter.probe import REFUSALS, Probe

Size = tuple[int, int]


@dataclass(frozen=True)
class PredictSettings:
    """How scores are made from forward passes; the default is one pass over the whole image.

    window  (height, width) of sliding windows; None: the whole image at once
    scales  factors of the image's size whose scores are averaged
    flip    average with the scores of the mirror image
    """

    window: Size | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= 8 for scale in self.scales):
            raise SettingsError(f"scales are {list(self.scales)}, allowed are factors above 0 and up to 8")

    @property
    def passes(self) -> int:
        """How many versions of an image are averaged."""
        return len(self.scales) * (1 + self.flip)


WHOLE = PredictSettings()  # one pass over the whole image


@torch.inference_mode()
def predict_scores(segmenter: Segmenter, images: Tensor, settings: PredictSettings = WHOLE) -> Tensor:
    """Scores (B, C, H, W) whose largest is the prediction: logits, or where several passes are averaged probabilities.

    images  (B, 3, H, W), normalised, on the net's device
    """
    if settings == WHOLE:
        return forward(segmenter, images)
    size = images.shape[-2:]
    total = torch.zeros((), device=images.device)
    for scale in settings.scales:
        scaled = images
        if scale != 1.0:
            target = [max(1, round(scale * side)) for side in size]
            scaled = functional.interpolate(images, target, mode="bilinear", align_corners=False, antialias=True)
        for mirrored in (False, True)[: 1 + settings.flip]:
            scores = _windows(segmenter, scaled.flip(-1) if mirrored else scaled, settings.window)
            scores = scores.flip(-1) if mirrored else scores
            total = total + resize_scores(scores, (size[0], size[1]))
    return total / settings.passes


def forward(segmenter: Segmenter, images: Tensor) -> Tensor:
    """Logits (B, C, H, W) of one pass; sides that are no multiples as the net needs them are padded by the border.

    Raises SettingsError for images of a size that the net refuses even so.
    """
    height, width = images.shape[-2:]
    multiple = as_segmenter(segmenter.net).multiple
    below, right = -height % multiple, -width % multiple
    if below or right:
        images = functional.pad(images, (0, right, 0, below), mode="replicate")
    try:
        logits: Tensor = segmenter.net(images)
    except REFUSALS:
        check_size(segmenter.net, segmenter.info, (height + below, width + right))
        raise
    return logits[:, : len(segmenter.info.classes), :height, :width].float()


def check_size(net: nn.Module, info: SegmenterInfo, size: Size) -> None:
    """Raise SettingsError where a net refuses whole images of (height, width), and takes others."""
    probe = Probe(net)
    reason = probe.refusal(size)
    if reason is not None and (other := probe.fitting(size)) is not None:
        raise SettingsError(
            f"an image of {size[0]}x{size[1]} does not fit {info.net} ({reason}), {other[0]}x{other[1]} does: "
            "give --scale or --window to zodi evaluate, --size to zodi export-segmenter"
        )


def resize_scores(scores: Tensor, size: Size) -> Tensor:
    """(B, C, h, w) to (B, C, *size), bilinear."""
    if tuple(scores.shape[-2:]) == size:
        return scores
    return functional.interpolate(scores, list(size), mode="bilinear", align_corners=False)


def _windows(segmenter: Segmenter, images: Tensor, window: Size | None) -> Tensor:
    """Probabilities (B, C, H, W), in overlaps the mean over the windows."""
    height, width = images.shape[-2:]
    if window is None or (window[0] >= height and window[1] >= width):
        return forward(segmenter, images).softmax(dim=1)
    window = min(window[0], height), min(window[1], width)
    shape = (images.shape[0], len(segmenter.info.classes), height, width)
    total, count = images.new_zeros(shape), images.new_zeros((height, width))
    for top in window_starts(height, window[0]):
        for left in window_starts(width, window[1]):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            total[place] += forward(segmenter, images[place]).softmax(dim=1)
            count[place] += 1
    return total / count
