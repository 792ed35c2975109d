"""A segmenter as the judge of transferred images: what `zodi.transfer.quality` asks for, as a callable."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zodi.errors import ModelError
from zodi.labels import LabelSet
from zodi.segmenter.checkpoint import DESCRIPTION, WEIGHTS, Segmenter, load_checkpoint
from zodi.segmenter.images import resize_image, to_input
from zodi.segmenter.predict import predict_scores, resize_scores
from zodi.transfer.manifest import file_sha256


class SegmenterJudge:
    """Images (B, H, W, 3) uint8 -> train ids (B, H, W) uint8 and their probabilities (B, H, W) float32.

    Images are resized to the height that the segmenter was trained at, keeping their shape, and the answer back.

    hash  sha256 of the checkpoint's files, 16 hexadecimal digits
    """

    def __init__(self, segmenter: Segmenter, digest: str, device: torch.device) -> None:
        self.hash = digest
        self._segmenter = segmenter
        self._device = device

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        height, width = images.shape[1:3]
        target = self._segmenter.info.size[0]
        size = (target, max(1, round(width * target / height)))
        inputs = torch.stack([to_input(resize_image(image, size), self._segmenter.info) for image in images]).to(
            self._device
        )
        scores = resize_scores(predict_scores(self._segmenter, inputs), (height, width)).softmax(dim=1)
        confidence, ids = scores.max(dim=1)
        return ids.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()


def open_judge(checkpoint: Path, label_set: LabelSet, device: torch.device) -> SegmenterJudge:
    """Open a checkpoint as a judge for a label set.

    Raises ModelError where it is no checkpoint, or its classes are not those of the label set.
    """
    segmenter = load_checkpoint(checkpoint, device=device)
    if segmenter.info.classes != label_set.names:
        raise ModelError(
            f"{checkpoint}: has the classes {', '.join(segmenter.info.classes)}; "
            f"a judge for label set {label_set.name!r} needs {', '.join(label_set.names)}"
        )
    digest = file_sha256(checkpoint / WEIGHTS)[:8] + file_sha256(checkpoint / DESCRIPTION)[:8]
    return SegmenterJudge(segmenter, digest, device)
