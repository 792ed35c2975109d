"""`zodi adapt`: train a segmenter."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from zodi.cli.options import Size, dataset_options, json_option, need, write_json


class NetOption(click.ParamType[tuple[str, Any]]):
    """NAME=VALUE, the value as JSON or else as a string."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value[0], value[1]
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not NAME=VALUE, e.g. decoder_channels=128", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


@click.command("adapt")
@click.option(
    "--source", type=click.Path(path_type=Path), metavar="DIR", help="The labelled data set to train on; as --root."
)
@dataset_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("segmenter"),
    show_default=True,
    metavar="DIR",
    help="Where the checkpoint goes, and the state of a training that is not finished.",
)
@click.option(
    "--recipe",
    default="default",
    show_default=True,
    type=click.Choice(["default", "reference"]),
    help="default: AdamW, poly per step, averaged weights; reference: the paper's, to the letter.",
)
@click.option(
    "--architecture",
    metavar="NAME",
    help="deeplabv3plus-original, refinenet-original, or one of segmentation-models-pytorch. [default: deeplabv3plus]",
)
@click.option(
    "--encoder", metavar="NAME", help="Of segmentation-models-pytorch, or tu- and one of timm. [default: resnet50]"
)
@click.option(
    "--encoder-weights",
    metavar="imagenet|none|PATH",
    help="First weights of the encoder: downloaded, random, or a file. [default: imagenet]",
)
@click.option(
    "--net-option",
    "options",
    type=NetOption(),
    multiple=True,
    help="An argument of the architecture, e.g. decoder_channels=128; may be repeated.",
)
@click.option("--size", type=Size(), help="Resize images to it. [default: their own, short side at most 512]")
@click.option("--crop", type=Size(), help="Random crop of the resized image. [default: three quarters of the size]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data. [default: 100]")
@click.option("--iterations", type=click.IntRange(1), help="Optimiser steps, instead of epochs.")
@click.option("--batch", type=click.IntRange(1), help="Images per step. [default: 8, reference 4]")
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]), help="[default: adamw, reference sgd]")
@click.option("--lr", type=float, help="First learning rate. [default: 5e-4 for adamw, 1e-2 for sgd, reference 1e-3]")
@click.option("--weight-decay", type=float, help="[default: 1e-2 for adamw, 1e-4 for sgd]")
@click.option("--ema", type=float, metavar="DECAY", help="Decay of averaged weights, 0: off. [default: 0.999]")
@click.option("--jitter/--no-jitter", default=None, help="Random brightness, contrast, saturation and hue.")
@click.option("--seed", type=click.IntRange(0), help="[default: 0]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="[default: fp32]")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that prepare images.")
@click.option(
    "--save-every",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="STEPS",
    help="Save the state that often, besides after each epoch.",
)
@click.option("--restart", is_flag=True, help="Begin anew, also where an unfinished or other training is.")
@json_option
def command(
    source: Path | None,
    dataset: str | None,
    root: Path | None,
    split: str | None,
    condition: str | None,
    labels: str | None,
    label_set: str | None,
    output: Path,
    recipe: str,
    options: tuple[tuple[str, Any], ...],
    device: str,
    workers: int,
    save_every: int,
    restart: bool,
    json_file: str | None,
    **fields: Any,
) -> None:
    """Train a segmenter on labelled images, and write a checkpoint that `zodi evaluate` takes.

    A broken training goes on where it stopped when the same command is given again. On several GPUs:
    accelerate launch --module zodi.cli adapt ...
    """
    if source is not None and root is not None:
        raise click.UsageError("--source and --root are the same: give one of them")
    directory = need(source or root, "--source")

    from zodi.cli.progress import progress
    from zodi.data import open_dataset
    from zodi.segmenter.settings import RECIPES, make_settings
    from zodi.segmenter.train import train
    from zodi.transfer.signals import stop_on_signals

    net_options = RECIPES[recipe].get("options", {}) | dict(options)
    settings = make_settings(recipe, options=net_options, **fields)
    opened = open_dataset(dataset, directory, split=split, condition=condition, labels=labels, label_set=label_set)
    with progress(f"train on {len(opened.samples)} images") as update, stop_on_signals() as stopped:
        result = train(
            opened,
            output,
            settings,
            device=device,
            workers=workers,
            save_every=save_every,
            restart=restart,
            on_progress=update,
            stopped=stopped,
        )
    click.echo(
        f"{result.steps} steps, {result.seconds:.1f} s: {output}"
        if result.finished
        else "interrupted; give the same command again to go on",
        err=json_file == "-" or not result.finished,
    )
    write_json(
        json_file,
        {
            "output": str(output),
            "finished": result.finished,
            "steps": result.steps,
            "seconds": round(result.seconds, 3),
        },
    )
    if not result.finished:
        sys.exit(stopped.exit_status)
