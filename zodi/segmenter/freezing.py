"""Parts of a net that training leaves as they are."""

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zodi.segmenter.nets import as_segmenter


def freeze_weights(net: nn.Module, frozen: Collection[str]) -> None:
    """Take the gradient from the parameters of what is frozen; see `set_training`."""
    if "encoder" in frozen:
        as_segmenter(net).encoder.requires_grad_(False)


def set_training(net: nn.Module, frozen: Collection[str]) -> None:
    """Put a net into training mode but for what is frozen.

    "encoder"          its weights and statistics stay, and it has no dropout
    "norm-statistics"  batch norm normalises by its statistics, everywhere, and does not change them
    """
    net.train()
    if "encoder" in frozen:
        as_segmenter(net).encoder.eval()
    if "norm-statistics" in frozen:
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
