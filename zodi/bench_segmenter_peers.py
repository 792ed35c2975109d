"""PyTorch as the peer of exported segmenters: eager in either memory layout, and compiled, from pixels to ids."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zodi.engines.segmenters import DeployedSegmenter, Ids, Images
from zodi.export.segmenter_onnx import FromPixels
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import Segmenter
from zodi.segmenter.info import FileInfo, SegmenterInfo, palette_of
from zodi.segmenter.nets import build_net
from zodi.town import render

Predict = Callable[[Images], Ids]

PEERS = ("torch", "torch-compile")
LAYOUTS = {"torch, contiguous": torch.contiguous_format, "torch, channels_last": torch.channels_last}
STATISTICS = (64, 128)  # size of the scenes that random weights take their batch norm from
STATISTICS_SCENES = 4


class Labels(torch.nn.Module):
    """What a file computes: from pixels (B, H, W, 3) to ids (B, H, W), uint8."""

    def __init__(self, segmenter: Segmenter, layout: torch.memory_format) -> None:
        super().__init__()
        self.inner = copy.deepcopy(FromPixels(segmenter)).eval().to(memory_format=layout)
        self.layout = layout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        planes = self.inner.normalised(images).contiguous(memory_format=self.layout)
        logits: torch.Tensor = self.inner.net(planes)[:, : self.inner.classes]
        return logits.argmax(dim=1).to(torch.uint8)


def open_eager(segmenter: Segmenter, file: FileInfo, layout: torch.memory_format) -> Predict:
    """Ids of images by eager PyTorch, with weights and planes in a memory layout."""
    return DeployedSegmenter(Path("torch"), file, partial(_run_torch, Labels(segmenter, layout))).predict


def open_compiled(segmenter: Segmenter, file: FileInfo) -> Predict:
    """The same compiled; that happens in the first call at each shape, and needs a C++ compiler."""
    compiled = torch.compile(Labels(segmenter, torch.contiguous_format), dynamic=False)
    return DeployedSegmenter(Path("torch-compile"), file, partial(_run_torch, compiled)).predict


@torch.no_grad()
def _run_torch(module: Any, images: Images) -> Any:
    return module(torch.tensor(images)).numpy()


def random_segmenter(architecture: str, encoder: str, size: tuple[int, int]) -> Segmenter:
    """A net with random weights whose batch norm has seen scenes, else its activations would grow without bound."""
    torch.manual_seed(0)
    built = build_net(architecture, encoder, CITYSCAPES_19.num_classes)
    info = SegmenterInfo(
        architecture, encoder, {}, CITYSCAPES_19.names, palette_of(CITYSCAPES_19), built.mean, built.std,
        size,
    )  # fmt: skip
    segmenter = Segmenter(built.net, info)
    pixels = np.stack([render(i, "clear", STATISTICS)[0] for i in range(STATISTICS_SCENES)])
    module = FromPixels(segmenter)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # a plain mean
    with torch.no_grad():
        module.train()(torch.from_numpy(pixels))
    built.net.eval()
    return segmenter
