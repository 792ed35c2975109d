"""Options of `zodi adapt` for what is learnt most from, and for how much of the net learns."""

import functools
from typing import Any

import click

from zodi.cli.options import Command


class Range(click.ParamType[tuple[float, float]]):
    """Two numbers with a comma between them, e.g. 0.5,2."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            low, high = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a range: write LOW,HIGH, e.g. 0.5,2", param, ctx)
        return low, high


def training_options(command: Command) -> Command:
    """`--scale --loss --class-weights --rare-class-* --encoder-lr --warmup --freeze`."""
    options = [
        click.option(
            "--scale",
            type=Range(),
            help="Resize each image by a random factor before the crop; what is missing is void. [default: 1,1]",
        ),
        click.option(
            "--loss",
            metavar="NAME[+NAME...]",
            help="cross-entropy, focal, dice, lovasz, ohem, or a sum, e.g. cross-entropy+0.5*dice. "
            "[default: cross-entropy]",
        ),
        click.option(
            "--class-weights",
            metavar="balanced|median-frequency|NAME=W,...|FILE.toml",
            help="Weights of the classes in the loss: by the pixels of the training labels, or given. [default: none]",
        ),
        click.option(
            "--rare-class-sampling",
            type=float,
            metavar="T",
            help="Draw images by their classes, rare ones more often the lower the temperature; DAFormer's is 0.01. "
            "[default: 0, each image once in an epoch]",
        ),
        click.option(
            "--rare-class-pixels",
            type=click.IntRange(1),
            metavar="N",
            help="Pixels of the class that such an image has. [default: 0.15 % of the size]",
        ),
        click.option("--encoder-lr", type=float, metavar="FACTOR", help="Of the encoder's learning rate. [default: 1]"),
        click.option("--warmup", type=click.IntRange(0), metavar="STEPS", help="Steps of a rising rate. [default: 0]"),
        click.option(
            "--freeze",
            multiple=True,
            type=click.Choice(["encoder", "norm-statistics"]),
            help="Keep the encoder, or all of batch norm's means and variances, as they are at first; may be repeated.",
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def read_training_options(fields: dict[str, Any]) -> dict[str, Any]:
    """The options as fields of `zodi.segmenter.settings.TrainSettings`. Raises SettingsError."""
    from zodi.segmenter.class_pixels import read_class_weights

    weights = fields["class_weights"]
    return fields | {"class_weights": None if weights is None else read_class_weights(weights)}
