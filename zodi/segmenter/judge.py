"""A segmenter as the judge of transferred images: what `zodi.transfer.quality` asks for, as a callable."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zodi.engines.segmenters import DeployedSegmenter
from zodi.errors import ModelError, SettingsError
from zodi.labels import LabelSet
from zodi.segmenter.checkpoint import DESCRIPTION, WEIGHTS, Segmenter
from zodi.segmenter.images import resize_image, resize_label, to_input
from zodi.segmenter.model import open_model
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


class FileJudge:
    """The same for an exported file, which takes one size; without probabilities its confidence is 0 everywhere."""

    def __init__(self, segmenter: DeployedSegmenter, digest: str) -> None:
        self.hash = digest
        self._segmenter = segmenter

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        height, width = images.shape[1:3]
        scaled = np.stack([resize_image(image, self._segmenter.info.size) for image in images])
        if self._segmenter.file.output == "labels":
            ids = self._segmenter.predict(scaled)
            confidence = np.zeros(ids.shape, np.float32)
        else:
            probabilities = self._segmenter.probabilities(scaled)
            ids, confidence = probabilities.argmax(axis=1).astype(np.uint8), probabilities.max(axis=1)
        large = [resize_label(part, (height, width)) for part in ids]
        sure = [
            np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR)) for part in confidence
        ]
        return np.stack(large), np.stack(sure)


def open_judge(
    model: Path, label_set: LabelSet, device: torch.device, *, confident: bool = False
) -> SegmenterJudge | FileJudge:
    """Open a checkpoint or an exported file as a judge for a label set; files run where their runtime runs.

    confident  its probabilities are needed

    Raises ModelError where it is no segmenter, or its classes are not those of the label set; SettingsError where
    probabilities are needed and the file has none.
    """
    segmenter = open_model(model, str(device) if model.is_dir() else "auto")
    if segmenter.info.classes != label_set.names:
        raise ModelError(
            f"{model}: has the classes {', '.join(segmenter.info.classes)}; "
            f"a judge for label set {label_set.name!r} needs {', '.join(label_set.names)}"
        )
    if isinstance(segmenter, DeployedSegmenter):
        if confident and segmenter.file.output == "labels":
            raise SettingsError(
                f"{model}: returns labels alone, --mask-disagreement needs to know how sure the judge is: "
                "export it with --output probabilities"
            )
        return FileJudge(segmenter, file_sha256(model)[:16])
    digest = file_sha256(model / WEIGHTS)[:8] + file_sha256(model / DESCRIPTION)[:8]
    return SegmenterJudge(segmenter, digest, device)
