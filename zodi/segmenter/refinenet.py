"""The original's RefineNet (Lin et al., arXiv 1611.06612) on ResNet: no batch norm in the head, plain 3x3 convolutions.

99,058,004 parameters with ResNet-50 and 20 logits.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from zodi.segmenter.protocol import Outputs
from zodi.segmenter.resnet import CHANNELS, ResNetStages

WIDTHS = (256, 256, 256, 512)  # of the four levels, finest first
OUTPUT = 256
POOLINGS = 4
DROPOUT = 0.5
UPSAMPLING = 4  # of the finest level, before the classifier


class RefineNetOriginal(nn.Module):
    """Four levels, each refined and joined with the coarser one; the finest is enlarged, then classified."""

    multiple = 1  # sides may be of any length

    def __init__(self, encoder: ResNetStages, logits: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = nn.ModuleList(
            Level(inputs, width, coarsest=i == len(WIDTHS) - 1, finest=i == 0)
            for i, (inputs, width) in enumerate(zip(CHANNELS, WIDTHS, strict=True))
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Conv2d(WIDTHS[0], logits, 3, padding=1)

    def forward(self, images: Tensor, with_features: bool = False) -> Tensor | Outputs:
        """See `zodi.segmenter.protocol`; features are (B, 2048, H/32, W/32)."""
        stages = self.encoder(images)
        inputs = [stages[0], stages[1], self.dropout(stages[2]), self.dropout(stages[3])]
        x = None
        for level, stage in zip(reversed(self.levels), reversed(inputs), strict=True):
            x = level(stage, x)
        x = self.dropout(x)
        x = _resize(x, (UPSAMPLING * x.shape[-2], UPSAMPLING * x.shape[-1]))
        logits = _resize(self.classifier(x), images.shape[-2:])
        return Outputs(logits, stages[3]) if with_features else logits


class Level(nn.Module):
    """One stage reduced, refined, joined with the coarser level, pooled and refined again.

    coarsest  there is nothing to join with
    finest    the result keeps the level's width, it is not brought to that of the next level
    """

    def __init__(self, inputs: int, width: int, *, coarsest: bool, finest: bool) -> None:
        super().__init__()
        self.reduce = conv3x3(inputs, width)
        self.adapt = nn.Sequential(ResidualUnit(width), ResidualUnit(width))
        self.join = None if coarsest else conv3x3(width, width)
        self.pooling = ChainedPooling(width)
        self.refine = nn.Sequential(ResidualUnit(width), ResidualUnit(width), ResidualUnit(width))
        self.output = nn.Identity() if finest else conv3x3(width, OUTPUT)

    def forward(self, stage: Tensor, coarser: Tensor | None) -> Tensor:
        """Features (B, C, h, w) and the coarser level's result (B, 256, h/2, w/2) to (B, 256, h, w)."""
        x = self.adapt(self.reduce(stage))
        if self.join is not None and coarser is not None:
            x = self.join(x) + _resize(coarser, x.shape[-2:])
        return cast(Tensor, self.output(self.refine(self.pooling(functional.relu(x)))))


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))); only the first convolution has a bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv3x3(width, width, bias=True)
        self.second = conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        return cast(Tensor, x + self.second(functional.relu(self.first(functional.relu(x)))))


class ChainedPooling(nn.Module):
    """x + p1(x) + p2(p1(x)) + ...; each p is a 5x5 max-pool that keeps the size, and a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(conv3x3(width, width) for _ in range(POOLINGS))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        top = x
        for convolution in self.convolutions:
            top = convolution(functional.max_pool2d(top, 5, stride=1, padding=2))
            x = x + top
        return x


def conv3x3(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
