"""Any architecture and encoder of segmentation-models-pytorch behind the protocol of zodi's nets."""

import difflib
import inspect
import math
import warnings
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from zodi.errors import ModelError
from zodi.segmenter.protocol import Outputs

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# arguments of the library that are not options here
FIXED = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params")

Triple = tuple[float, float, float]


class SmpNet(nn.Module):
    """A net of segmentation-models-pytorch; parameter names are its own, so that its checkpoints fit."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.encoder: nn.Module = net.encoder
        self.decoder: nn.Module = net.decoder
        self.segmentation_head: nn.Module = net.segmentation_head
        self.multiple = int(net.encoder.output_stride) if net.requires_divisible_input_shape else 1
        # DPT brings all stages, which have one stride, to strides of 4, 8, 16 ..., and joins them two by two
        strides = getattr(net.encoder, "output_strides", ())
        self.multiple = math.lcm(self.multiple, 2 ** (len(strides) + 1)) if strides else self.multiple

    def forward(self, images: Tensor, with_features: bool = False) -> Tensor | Outputs:
        """See `zodi.segmenter.protocol`."""
        encoded = self.encoder(images)
        # vision transformers return their stages and their prefix tokens, all other encoders only stages
        stages, *tokens = encoded if isinstance(encoded, tuple) else (encoded,)
        logits: Tensor = self.segmentation_head(self.decoder(stages, *tokens))
        return Outputs(logits, stages[-1]) if with_features else logits


def smp_architectures() -> dict[str, str]:
    """Names that `build_smp` takes, lower case to the library's own spelling."""
    import segmentation_models_pytorch as smp

    return {name: model.__name__ for name, model in smp.MODEL_ARCHITECTURES_MAPPING.items()}


def build_smp(
    architecture: str, encoder: str, logits: int, *, imagenet: bool, options: dict[str, Any]
) -> tuple[SmpNet, Triple, Triple]:
    """A net of the library, and mean and std that its encoder's ImageNet weights expect.

    architecture  a key of `smp_architectures`
    encoder       a name of the library, or "tu-" and a name of timm
    imagenet      load the library's ImageNet weights, from its cache or the hub; OSError where they cannot be had
    options       further arguments of the architecture, e.g. {"decoder_channels": 128}

    Raises ModelError for an unknown encoder and for a combination that the library refuses.
    """
    import segmentation_models_pytorch as smp

    mean, std = encoder_normalisation(encoder)
    taken = inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[architecture]).parameters  # the rest it would swallow
    # what an architecture does not take goes to the encoder: timm refuses what it does not know, the others swallow it
    unknown = [n for n in options if n in FIXED or (n not in taken and not encoder.startswith("tu-"))]
    if unknown:
        allowed = ", ".join(name for name, p in taken.items() if name not in FIXED and p.kind != p.VAR_KEYWORD)
        raise ModelError(f"{architecture} has no option {unknown[0]!r}: allowed are {allowed}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names of its own that the library deprecates
            net = smp.create_model(architecture, encoder, "imagenet" if imagenet else None, 3, logits, **options)
    except OSError:
        raise
    except (LookupError, ValueError, TypeError, RuntimeError, NotImplementedError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{architecture} cannot be built with encoder {encoder!r}"
            f"{f' and options {options}' if options else ''}: {reason}: choose others"
        ) from None
    return SmpNet(net), mean, std


def encoder_normalisation(encoder: str) -> tuple[Triple, Triple]:
    """Mean and std (RGB, of values 0..1) that an encoder's ImageNet weights were trained with.

    Raises ModelError, with near matches, for a name that neither the library nor timm has.
    """
    import timm
    from segmentation_models_pytorch.encoders import encoders

    known = set(encoders)
    if encoder in known:
        settings = encoders[encoder]["pretrained_settings"].get("imagenet", {})
        return _triple(settings.get("mean", IMAGENET_MEAN)), _triple(settings.get("std", IMAGENET_STD))
    if encoder.startswith("tu-") and timm.is_model(encoder[3:].split(".")[0]):
        config = timm.get_pretrained_cfg(encoder[3:], allow_unregistered=True)
        return (_triple(config.mean), _triple(config.std)) if config is not None else (IMAGENET_MEAN, IMAGENET_STD)
    names = known | {f"tu-{name}" for name in timm.list_models()}
    raise ModelError(f"unknown encoder {encoder!r}: {near(encoder, names)}")


def _triple(values: Iterable[float]) -> Triple:
    red, green, blue = values
    return red, green, blue


def near(name: str, known: set[str]) -> str:
    """ "did you mean ..." for the names most like a wrong one, or the first few where none is like it."""
    matches = difflib.get_close_matches(name.lower(), sorted(known), n=4, cutoff=0.5)
    return f"did you mean {', '.join(matches)}?" if matches else f"allowed are {', '.join(sorted(known)[:20])} ..."
