"""Segmenters as they are deployed: `open_segmenter(path).predict(uint8 images) -> ids`, whatever the format.

ONNX and OpenVINO files are opened without PyTorch.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi.errors import DataError, ModelError, SettingsError
from zodi.segmenter.info import FileInfo, SegmenterInfo

Images = NDArray[np.uint8]  # (B, H, W, 3), RGB
Ids = NDArray[np.uint8]
Scores = NDArray[np.float32]
RunFile = Callable[[Images], NDArray[Any]]  # images to what the file returns, see `FileInfo.output`

OPENERS: dict[str, str] = {  # ending of the path -> module with `open_file(path, device, threads)`
    "": "zodi.engines.segmenter_torch",  # a checkpoint directory
    ".onnx": "zodi.engines.segmenter_ort",
    ".xml": "zodi.engines.segmenter_openvino",
    ".engine": "zodi.engines.segmenter_trt",
    ".plan": "zodi.engines.segmenter_trt",
}


class DeployedSegmenter:
    """A segmenter behind its file's seam; inputs and results are checked here, for every format.

    info  as of a checkpoint; its size is the file's
    file  what else the file says of itself
    path  of the file or the checkpoint
    """

    def __init__(self, path: Path, file: FileInfo, run: RunFile) -> None:
        self.path = path
        self.file = file
        self._run = run

    @property
    def info(self) -> SegmenterInfo:
        return self.file.model

    def predict(self, images: Images) -> Ids:
        """Images (B, H, W, 3) to train ids (B, H, W).

        H and W are those of the file, or where its size may vary any. Raises SettingsError for another size.
        """
        result = self.run_file(images)
        ids = result if self.file.output == "labels" else result.argmax(axis=1)
        highest = int(ids.max(initial=0))
        if highest >= len(self.info.classes):
            raise ModelError(
                f"{self.path}: returns the id {highest}, its metadata lists {len(self.info.classes)} classes: "
                "export it again"
            )
        return ids.astype(np.uint8)

    def probabilities(self, images: Images) -> Scores:
        """Images (B, H, W, 3) to probabilities (B, C, H, W). Raises SettingsError where the file has only labels."""
        if self.file.output == "labels":
            raise SettingsError(
                f"{self.path}: returns labels, but probabilities are needed: export it with --output probabilities"
            )
        scores: Scores = self.run_file(images)
        if scores.shape[1] != len(self.info.classes):
            raise ModelError(
                f"{self.path}: returns {scores.shape[1]} channels, its metadata lists {len(self.info.classes)} "
                "classes: export it again"
            )
        if self.file.output == "logits":
            exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = exponents / exponents.sum(axis=1, keepdims=True)
        return scores

    def run_file(self, images: Images) -> NDArray[Any]:
        """What the file returns for images (B, H, W, 3), see `FileInfo.output`; any batch."""
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images):
            raise DataError(
                f"images are {images.dtype} of shape {images.shape}, a segmenter takes uint8 of shape (B, H, W, 3)"
            )
        height, width = images.shape[1:3]
        if self.file.dynamic != "all" and (height, width) != self.info.size:
            raise SettingsError(
                f"{self.path}: takes images of {self.info.size[0]}x{self.info.size[1]}, given is {height}x{width}: "
                "resize them, or export it with --dynamic all"
            )
        below, right = -height % self.file.multiple, -width % self.file.multiple
        if below or right:
            images = np.pad(images, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
        parts = [self._run(np.ascontiguousarray(chunk))[:count] for chunk, count in _chunks(images, self.file.batch)]
        return np.concatenate(parts)[..., :height, :width]


def open_segmenter(path: Path | str, *, device: str = "auto", threads: int | None = None) -> DeployedSegmenter:
    """Open a checkpoint directory, or a file that `zodi export-segmenter` made.

    device   "cpu", "cuda", or "auto": the GPU where the format's runtime has one
    threads  of the CPU; None: one for each CPU that this process may use

    Raises ModelError for a file that is missing, damaged or without zodi's metadata, EngineError where its runtime, the
    device or its precision is not available.
    """
    path = Path(path)
    ending = "" if path.is_dir() else path.suffix.lower()
    if not path.exists():
        raise ModelError(f"{path}: no such file or directory: check the path")
    if ending not in OPENERS or (ending == "" and path.is_file()):
        raise ModelError(
            f"{path}: unknown kind of file: allowed are a checkpoint directory and files that end in "
            f"{', '.join(name for name in OPENERS if name)}"
        )
    file, run = importlib.import_module(OPENERS[ending]).open_file(path, device=device, threads=threads)
    return DeployedSegmenter(path, file, run)


def _chunks(images: Images, batch: tuple[int, int, int]) -> Iterator[tuple[Images, int]]:
    """Parts of the batch that the file takes, filled up with copies of the last image, and how many count."""
    low, _, high = batch
    for start in range(0, len(images), high):
        chunk = images[start : start + high]
        short = max(0, low - len(chunk))
        yield (np.concatenate([chunk, np.repeat(chunk[-1:], short, axis=0)]) if short else chunk), len(chunk)
