"""The settings of a training: everything that decides the weights, by recipe, checked once, written to `train.json`."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from zodi.errors import SettingsError
from zodi.segmenter.nets import VOID_LOGIT

Size = tuple[int, int]
SHORT_SIDE = 512  # images whose short side is longer are made smaller, where no size is given
MULTIPLE = 32  # of sizes that are not given; every net takes them

PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMIZERS = ("adamw", "sgd")
RARE_CLASS_SHARE = 3000 / (1052 * 1914)  # of an image, what DAFormer asks of GTA5's
SCHEDULES = ("iteration", "epoch")
LOSSES = ("cross-entropy", "focal", "dice", "lovasz", "ohem")
WITHOUT_WEIGHTS = ("lovasz",)
FROZEN = ("encoder", "norm-statistics")
CLASS_WEIGHTS = ("balanced", "median-frequency")


@dataclass(frozen=True)
class TrainSettings:
    """How a segmenter is trained.

    architecture, encoder, encoder_weights, options  see `zodi.segmenter.nets.build_net`
    size          (height, width) that images (Lanczos) and labels (nearest) are resized to; None: as they are, but not
                  larger than a short side of 512, and multiples of 32
    crop          (height, width) of the random crop; None: three quarters of the size
    scale         range of the random factor by which an image is resized before it is cropped; what it does not fill
                  of the crop is grey, and void in the label
    epochs        passes over the data; None where `iterations` is given
    iterations    optimiser steps in all; None where `epochs` is given
    batch         images (pairs of them in adaptation) per step, over all processes; an incomplete batch at the end of
                  an epoch is dropped
    accumulate    parts that each process cuts its images of a step into, one after the other; it saves memory
    schedule      the learning rate is lr (1 - t)^power, t = share of "iteration"s or of "epoch"s that are done
    lr_floor      the learning rate is never lower
    loss          what is minimised: names of LOSSES with + between them, each with a factor where it is not 1, e.g.
                  "cross-entropy+0.5*dice"; see `zodi.segmenter.objective.make_supervised`
    class_weights of all terms but lovasz: "balanced" or "median-frequency", from the pixels of the training labels, or
                  weights by name of class, 1 where there is none; see `zodi.segmenter.class_pixels`
    rare_class_sampling  temperature by which images are drawn, the lower the more often those of rare classes; 0: each
                  image once in an epoch; see `zodi.segmenter.rare_classes`
    rare_class_pixels  pixels of a class, at `size`, that an image drawn for it has; half of them, or of those that it
                  has, should be in the crop; None: 3000 of 1052x1914, GTA5's
    encoder_lr    factor of the encoder's learning rate
    warmup        steps in which the learning rate rises from 0, as step / warmup of what the schedule says
    freeze        parts that stay as they are: see `zodi.segmenter.freezing.set_training`
    momentum      of SGD
    weight_decay  of all parameters
    ema           decay of the averaged weights that are kept instead of the last; 0: the last are kept
    jitter        brightness, contrast and saturation in 0.5..1.5, hue +-0.3 of the circle
    blur          half of the images by a Gaussian of 0.1 to 2 pixels
    noise         half of the images get Gaussian noise of up to 10 of 255 levels: what repaints an image, or compresses
                  one, takes away a sensor's
    cutout        half of the images lose a rectangle of a quarter to half of each side; it is void in the label
    seed          of first weights, order, augmentation and dropout
    precision     "fp32", or mixed: "bf16", "fp16"
    channels_last memory format of images and weights
    """

    architecture: str = "deeplabv3plus"
    encoder: str = "resnet50"
    encoder_weights: str = "imagenet"
    options: Mapping[str, Any] = field(default_factory=dict)
    size: Size | None = None
    crop: Size | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    epochs: int | None = 100
    iterations: int | None = None
    batch: int = 8
    accumulate: int = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 5e-4
    momentum: float = 0.9
    weight_decay: float = 1e-2
    schedule: Literal["iteration", "epoch"] = "iteration"
    power: float = 0.9
    lr_floor: float = 1e-6
    ema: float = 0.999
    jitter: bool = True
    blur: bool = False
    noise: bool = True
    cutout: bool = False
    rare_class_sampling: float = 0.0
    rare_class_pixels: int | None = None
    encoder_lr: float = 1.0
    warmup: int = 0
    freeze: tuple[str, ...] = ()
    loss: str = "cross-entropy"
    class_weights: str | Mapping[str, float] | None = None
    seed: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.iterations is None):
            raise SettingsError(
                f"epochs is {self.epochs} and iterations {self.iterations}: give exactly one of the two"
            )
        if self.schedule == "epoch" and self.epochs is None:
            raise SettingsError("the schedule is per epoch and iterations are given: give epochs instead")
        for name, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} is {getattr(self, name)!r}, allowed are {', '.join(choices)}")
        for name in ("epochs", "iterations", "batch", "accumulate"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}, allowed is 1 or more")
        if not 0 < self.lr < math.inf:
            raise SettingsError(f"lr is {self.lr}, it must be above 0")
        for name in ("momentum", "weight_decay", "power", "lr_floor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} is {getattr(self, name)}, allowed is 0 or more")
        if not 0 <= self.ema < 1:
            raise SettingsError(f"ema is {self.ema}, allowed is 0 (off) to below 1, e.g. 0.999")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise SettingsError(f"scale is {self.scale}, allowed is LOW,HIGH with 0 < LOW <= HIGH, e.g. 0.5,2")
        if not 0 <= self.rare_class_sampling < math.inf:
            raise SettingsError(
                f"rare_class_sampling is {self.rare_class_sampling}, allowed is 0 (off) or more, e.g. 0.01"
            )
        if self.rare_class_pixels is not None and (self.rare_class_pixels < 1 or not self.rare_class_sampling):
            raise SettingsError(
                f"rare_class_pixels is {self.rare_class_pixels}, allowed is 1 or more, with rare_class_sampling"
            )
        if self.warmup < 0:
            raise SettingsError(f"warmup is {self.warmup}, allowed is 0 or more steps")
        if not 0 < self.encoder_lr < math.inf:
            raise SettingsError(f"encoder_lr is {self.encoder_lr}, it must be above 0; freeze the encoder for 0")
        unknown = next((part for part in self.freeze if part not in FROZEN), None)
        if unknown is not None:
            raise SettingsError(f"freeze has {unknown!r}, allowed are {', '.join(FROZEN)}")
        if "encoder" in self.freeze and self.encoder_lr != 1:
            raise SettingsError(f"encoder_lr is {self.encoder_lr} and the encoder is frozen: give one of the two")
        _check_class_weights(self.class_weights, self.loss_terms)

    @property
    def loss_terms(self) -> dict[str, float]:
        """The factor of each term of the loss. Raises SettingsError."""
        terms: dict[str, float] = {}
        for part in self.loss.split("+"):
            factor, star, name = part.strip().rpartition("*")
            try:
                value = float(factor) if star else 1.0
            except ValueError:
                value = 0.0
            if name not in LOSSES or name in terms or not 0 < value < math.inf:
                raise SettingsError(
                    f"loss is {self.loss!r}: allowed are {', '.join(LOSSES)}, each once, and sums of them with factors "
                    "above 0, e.g. cross-entropy+0.5*dice"
                )
            terms[name] = value
        return terms

    def resolved(self, image_size: Size) -> "TrainSettings":
        """The same, for images of (height, width), with all that depends on their size. Raises SettingsError."""
        size = self.size or default_size(image_size)
        crop = self.crop or _rounded((0.75 * size[0], 0.75 * size[1]))
        if crop[0] > size[0] or crop[1] > size[1]:
            raise SettingsError(f"the crop {_text(crop)} is larger than the size {_text(size)}: make it smaller")
        pixels = self.rare_class_pixels
        if self.rare_class_sampling and pixels is None:
            pixels = max(1, round(RARE_CLASS_SHARE * size[0] * size[1]))
        return replace(self, size=size, crop=crop, rare_class_pixels=pixels)

    def described(self) -> dict[str, Any]:
        """All fields as JSON holds them, in order."""
        content = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}


# what each recipe says; options that the user gives come on top
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    # the paper's optimisation and net, to the letter
    "reference": {
        "architecture": "deeplabv3plus-original",
        "encoder": "resnet50",
        "encoder_weights": "imagenet",
        "options": {VOID_LOGIT: True},
        "size": (512, 1024),
        "crop": (384, 768),
        "epochs": 100,
        "batch": 4,
        "optimizer": "sgd",
        "lr": 1e-3,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "epoch",
        "power": 0.9,
        "lr_floor": 1e-6,
        "ema": 0.0,
        "jitter": True,
        "noise": False,
    },
}
SGD_DEFAULTS = {"lr": 1e-2, "weight_decay": 1e-4}  # of the default recipe, where the user chooses SGD


def make_settings(recipe: str = "default", **given: Any) -> TrainSettings:
    """The settings of a recipe with some fields replaced; None stands for "not given".

    `iterations` replaces the recipe's epochs. Raises SettingsError.
    """
    if recipe not in RECIPES:
        raise SettingsError(f"unknown recipe {recipe!r}: allowed are {', '.join(RECIPES)}")
    fields = {key: value for key, value in given.items() if value is not None}
    if "iterations" in fields and "epochs" not in fields:
        fields["epochs"] = None
    base = RECIPES[recipe]
    if recipe == "default" and fields.get("optimizer") == "sgd":
        base = SGD_DEFAULTS
    return TrainSettings(**{**base, **fields})


def default_size(image_size: Size) -> Size:
    """The size that images of (height, width) are trained at where the user gives none."""
    factor = min(1.0, SHORT_SIDE / min(image_size))
    return _rounded((factor * image_size[0], factor * image_size[1]))


def _check_class_weights(weights: str | Mapping[str, float] | None, terms: Mapping[str, float]) -> None:
    if weights is None:
        return
    if terms.keys() <= set(WITHOUT_WEIGHTS):
        raise SettingsError(f"loss {'+'.join(terms)} takes no class_weights: add a term that does, or leave them out")
    if isinstance(weights, str):
        if weights not in CLASS_WEIGHTS:
            raise SettingsError(
                f"class_weights is {weights!r}, allowed are {', '.join(CLASS_WEIGHTS)}, or weights by name of class"
            )
    elif not weights or not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise SettingsError(f"class_weights are {dict(weights)}, allowed is 0 or more for each, and not 0 for all")


def _rounded(size: tuple[float, float]) -> Size:
    height, width = (max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in size)
    return height, width


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
