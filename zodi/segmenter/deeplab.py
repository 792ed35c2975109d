"""The original's DeepLabv3+ (Chen et al., arXiv 1802.02611): plain convolutions, output stride 32, rates 6, 12, 18.

39,761,588 parameters with ResNet-50 and 20 logits, 58,753,716 with ResNet-101.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zodi.segmenter.protocol import Outputs
from zodi.segmenter.resnet import CHANNELS, ResNetStages

WIDTH = 256
LOW_LEVEL_WIDTH = 48
RATES = (6, 12, 18)
DROPOUT = 0.5


class DeepLabV3PlusOriginal(nn.Module):
    """ASPP on the last stage, joined with stage 1 at a quarter of the image's size."""

    multiple = 1  # sides may be of any length

    def __init__(self, encoder: ResNetStages, logits: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.aspp = Aspp(CHANNELS[3])
        self.low_level = conv_bn_relu(CHANNELS[0], LOW_LEVEL_WIDTH, 1)
        self.join = conv_bn_relu(WIDTH + LOW_LEVEL_WIDTH, WIDTH, 3, padding=1)
        self.classifier = nn.Conv2d(WIDTH, logits, 1)

    def forward(self, images: Tensor, with_features: bool = False) -> Tensor | Outputs:
        """See `zodi.segmenter.protocol`; features are (B, 2048, H/32, W/32)."""
        stages = self.encoder(images)
        low = self.low_level(stages[0])
        high = _resize(self.aspp(stages[3]), low)
        logits = _resize(self.classifier(self.join(torch.cat([low, high], dim=1))), images)
        return Outputs(logits, stages[3]) if with_features else logits


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and the image's mean, 256 channels each, to 256."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = conv_bn_relu(channels, WIDTH, 1)
        self.dilated = nn.ModuleList(conv_bn_relu(channels, WIDTH, 3, padding=rate, dilation=rate) for rate in RATES)
        self.image = conv_bn_relu(channels, WIDTH, 1)
        self.project = nn.Sequential(conv_bn_relu((2 + len(RATES)) * WIDTH, WIDTH, 1), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 256, h, w)."""
        image = _resize(self.image(functional.adaptive_avg_pool2d(x, 1)), x)
        branches = [self.point(x), *(branch(x) for branch in self.dilated), image]
        return cast(Tensor, self.project(torch.cat(branches, dim=1)))


def conv_bn_relu(inputs: int, outputs: int, kernel: int, *, padding: int = 0, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; Kaiming initialisation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
