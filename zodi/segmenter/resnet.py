"""The ResNet that the original's nets stand on: torchvision's, without dilation (output stride 32), stage by stage."""

from typing import Any, cast

import torchvision
from torch import Tensor, nn

CHANNELS = (256, 512, 1024, 2048)  # of the four stages, for every depth with bottleneck blocks
RESNETS = ("resnet50", "resnet101", "resnet152")


class ResNetStages(nn.Module):
    """A ResNet without its classifier; parameter names are torchvision's, so that its weight files fit."""

    def __init__(self, name: str, *, imagenet: bool) -> None:
        """`name` is one of RESNETS; `imagenet` loads torchvision's IMAGENET1K_V1 weights, from its cache or the net."""
        super().__init__()
        net: Any = torchvision.models.get_model(name, weights="IMAGENET1K_V1" if imagenet else None)
        self.conv1: nn.Module = net.conv1
        self.bn1: nn.Module = net.bn1
        self.relu: nn.Module = net.relu
        self.maxpool: nn.Module = net.maxpool
        self.layer1: nn.Module = net.layer1
        self.layer2: nn.Module = net.layer2
        self.layer3: nn.Module = net.layer3
        self.layer4: nn.Module = net.layer4

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W), normalised, to features (B, CHANNELS[i], H/4, W/4), H/8, H/16 and H/32."""
        x = cast(Tensor, self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        stage1 = self.layer1(x)
        stage2 = self.layer2(stage1)
        stage3 = self.layer3(stage2)
        return stage1, stage2, stage3, self.layer4(stage3)
