"""Nets by name: the original's two, and any architecture of segmentation-models-pytorch.

`--architecture deeplabv3plus-original` is not `deeplabv3plus`: the library's DeepLabV3Plus has separable convolutions,
rates 12, 24, 36 and output stride 16.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from zodi.errors import ModelError
from zodi.segmenter.deeplab import DeepLabV3PlusOriginal
from zodi.segmenter.info import VOID_LOGIT as VOID_LOGIT
from zodi.segmenter.protocol import SegmenterNet
from zodi.segmenter.refinenet import RefineNetOriginal
from zodi.segmenter.resnet import RESNETS, ResNetStages
from zodi.segmenter.smp import IMAGENET_MEAN, IMAGENET_STD, Triple, build_smp, near, smp_architectures
from zodi.segmenter.weight_files import load_encoder_weights

ORIGINALS: dict[str, Callable[[ResNetStages, int], nn.Module]] = {
    "deeplabv3plus-original": DeepLabV3PlusOriginal,
    "refinenet-original": RefineNetOriginal,
}


@dataclass(frozen=True)
class BuiltNet:
    """A net in training mode, and mean and std (RGB, of values 0..1) that its encoder expects."""

    net: nn.Module
    mean: Triple
    std: Triple


def build_net(
    architecture: str,
    encoder: str,
    classes: int,
    *,
    encoder_weights: str = "none",
    options: Mapping[str, Any] | None = None,
) -> BuiltNet:
    """A net that follows `zodi.segmenter.protocol.SegmenterNet`.

    architecture     "deeplabv3plus-original" or "refinenet-original" (on resnet50, resnet101 or resnet152), or one of
                     segmentation-models-pytorch in any case
    classes          trained classes; there are as many logits, one more with the option "void_logit"
    encoder_weights  "imagenet": those of torchvision, timm or the library, from their caches or the hub; "none":
                     random, from torch's global generator; else the path of a .safetensors or .pth file
    options          "void_logit", and for the library's nets any further argument of the architecture

    Raises ModelError for unknown names and options, and for weights that are missing or do not fit.
    """
    rest = dict(options or {})
    logits = classes + bool(rest.pop(VOID_LOGIT, False))
    imagenet = encoder_weights == "imagenet"
    known = smp_architectures()
    name = architecture.lower()
    try:
        if name in ORIGINALS:
            net, mean, std = _build_original(name, encoder, logits, imagenet, rest), IMAGENET_MEAN, IMAGENET_STD
        elif name in known:
            net, mean, std = build_smp(name, encoder, logits, imagenet=imagenet, options=rest)
        else:
            raise ModelError(f"unknown architecture {architecture!r}: {near(name, {*ORIGINALS, *known})}")
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"the ImageNet weights of {encoder!r} cannot be downloaded ({reason}): "
            "give the path of a file with --encoder-weights PATH, or none"
        ) from None
    if encoder_weights not in ("imagenet", "none"):
        load_encoder_weights(net.encoder, Path(encoder_weights), encoder)
    return BuiltNet(net, mean, std)


def as_segmenter(net: nn.Module) -> SegmenterNet:
    """The same net, typed by the protocol that all nets of `build_net` follow."""
    return net  # type: ignore[return-value]


def _build_original(name: str, encoder: str, logits: int, imagenet: bool, options: dict[str, Any]) -> Any:
    if encoder not in RESNETS:
        raise ModelError(f"{name} cannot be built with encoder {encoder!r}: allowed are {', '.join(RESNETS)}")
    if options:
        raise ModelError(f"{name} has no option {next(iter(options))!r}: its only option is {VOID_LOGIT}")
    return ORIGINALS[name](ResNetStages(encoder, imagenet=imagenet), logits)
