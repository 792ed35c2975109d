"""What every segmenter net offers to training, adaptation, evaluation and export."""

from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Outputs(NamedTuple):
    """Logits (B, L, H, W) and the features of the last encoder stage (B, C, H/s, W/s) of one forward pass.

    s is the output stride of the encoder: 32, or 16 for nets that dilate the last stage.
    """

    logits: Tensor
    features: Tensor


class SegmenterNet(Protocol):
    """An `nn.Module`, called with images (B, 3, H, W), normalised, RGB.

    net(images)                      logits (B, L, H, W) as one tensor: what is exported and evaluated
    net(images, with_features=True)  `Outputs`; the same call, so that it also works wrapped for distributed training
    multiple                         H and W must be multiples of it
    encoder                          the part that ImageNet weights are for
    """

    multiple: int
    encoder: nn.Module

    def forward(self, images: Tensor, with_features: bool = False) -> Tensor | Outputs: ...
