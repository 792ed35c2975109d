"""`zodi adapt`: train a segmenter on source and synthetic images."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from zodi.cli.config_file import config_option, write_config
from zodi.cli.options import Size, failures_option, json_option, need, source_options, tell_before_run, write_json
from zodi.cli.training_options import read_training_options, training_options


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
            return name, json.loads(text, parse_constant=str)  # NaN and Infinity are no numbers of JSON
        except ValueError:
            return name, text


@click.command("adapt")
@config_option
@source_options
@click.option(
    "--baseline",
    type=click.Choice(["source-only", "augment"]),
    help="Train without synthetic images for comparison, with the same steps and images per step.",
)
@click.option(
    "--similarity",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0),
    help="Weight of the cosine similarity of a pair's features.",
)
@click.option(
    "--validate",
    type=click.Choice(["source", "synthetic"]),
    help="Keep images out of training and score them, or their synthetic partners, after each epoch.",
)
@click.option(
    "--holdout", default=0.1, show_default=True, type=float, metavar="SHARE", help="How many --validate keeps out."
)
@click.option(
    "--selection",
    default="last",
    show_default=True,
    type=click.Choice(["last", "synthetic-val"]),
    help="Keep the last weights, or those that score best with --validate synthetic.",
)
@click.option(
    "--norm-statistics",
    type=click.Choice(["synthetic", "both"]),
    help="The images that batch norm's statistics are of in the end: for the target domain, or for it and the source. "
    "[default: synthetic; reference, and with --freeze, both]",
)
@click.option(
    "--oracle",
    multiple=True,
    metavar="[LAYOUT=]DIR",
    help="Score the finished segmenter on a labelled target data set; reported, never used to choose weights.",
)
@click.option("--oracle-split", metavar="NAME", help="Split of these. [default: all that have labels]")
@click.option("--oracle-condition", metavar="NAME", help="ACDC's condition of these. [default: all]")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT|FILE",
    help="First weights, of the same net and classes: a checkpoint, or a .pth or .safetensors file of a state dict.",
)
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
@click.option("--batch", type=click.IntRange(1), help="Images, or pairs, per step. [default: 8, reference 4]")
@click.option("--accumulate", type=click.IntRange(1), help="Parts of a step, one after the other. [default: 1]")
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]), help="[default: adamw, reference sgd]")
@click.option("--lr", type=float, help="First learning rate. [default: 5e-4 for adamw, 1e-2 for sgd, reference 1e-3]")
@training_options
@click.option("--weight-decay", type=float, help="[default: 1e-2 for adamw, 1e-4 for sgd]")
@click.option("--ema", type=float, metavar="DECAY", help="Decay of averaged weights, 0: off. [default: 0.999]")
@click.option("--jitter/--no-jitter", default=None, help="Random brightness, contrast, saturation and hue.")
@click.option("--blur/--no-blur", default=None, help="Blur half of the images.")
@click.option("--noise/--no-noise", default=None, help="Noise in half of the images. [default: noise]")
@click.option("--cutout/--no-cutout", default=None, help="Cut a rectangle out of half of the pairs.")
@click.option("--seed", type=click.IntRange(0), help="[default: 0]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="[default: fp32]")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that prepare images.")
@click.option(
    "--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep decoded images there. [default: in memory]"
)
@click.option("--tracker", metavar="NAME", help="Tell accelerate's tracker of each step, e.g. tensorboard.")
@click.option(
    "--save-every",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="STEPS",
    help="Save the state that often, besides after each epoch.",
)
@click.option(
    "--restart", is_flag=True, help="Begin again. A training that is there stays until the new one is finished."
)
@click.option(
    "--allow-changed-files",
    is_flag=True,
    help="Resume although files of the data have another length than before.",
)
@failures_option
@json_option
def command(
    source: Path | None,
    dataset: str | None,
    root: Path | None,
    split: str | None,
    condition: str | None,
    labels: str | None,
    label_set: str | None,
    label_suffix: str | None,
    trust_labels: bool,
    synthetic: tuple[Path, ...],
    baseline: str | None,
    similarity: float,
    validate: str | None,
    holdout: float,
    selection: str,
    norm_statistics: str | None,
    oracle: tuple[str, ...],
    oracle_split: str | None,
    oracle_condition: str | None,
    output: Path,
    recipe: str,
    options: tuple[tuple[str, Any], ...],
    device: str,
    restart: bool,
    allow_changed_files: bool,
    max_failures: int,
    json_file: str | None,
    **fields: Any,
) -> None:
    """Train a segmenter on labelled images and on what zodi transfer made of them, for domains without images.

    The checkpoint is what `zodi evaluate` and `zodi export-segmenter` take. Without --synthetic and --baseline it is a
    plain training on the source. A broken training goes on where it stopped when the same command is given again. On
    several GPUs: accelerate launch --module zodi.cli adapt ...
    """
    if source is not None and root is not None:
        raise click.UsageError("--source and --root are the same: give one of them")
    directory = need(source or root, "--source")

    from zodi.adapt.settings import AdaptSettings
    from zodi.api import run_adapt
    from zodi.cli.evaluate import open_places, print_table
    from zodi.cli.progress import progress
    from zodi.data import open_dataset
    from zodi.segmenter.settings import RECIPES, make_settings
    from zodi.transfer.signals import stop_on_signals

    running = {name: fields.pop(name) for name in ("init", "workers", "cache", "save_every", "tracker")}
    net_options = RECIPES[recipe].get("options", {}) | dict(options)
    settings = make_settings(recipe, options=net_options, **read_training_options(fields))
    reading: dict[str, Any] = {
        "labels": labels, "label_set": label_set, "label_suffix": label_suffix, "trust_labels": trust_labels,
    }  # fmt: skip
    opened = open_dataset(dataset, directory, split=split, condition=condition, **reading)
    of_target = {"dataset": dataset, "root": None, "split": oracle_split, "condition": oracle_condition}
    if not oracle and (oracle_split or oracle_condition):
        raise click.UsageError("--oracle-split and --oracle-condition need --oracle")
    targets = open_places(oracle, of_target | reading)
    tell_before_run(opened, *targets)
    adapting = None
    if synthetic or baseline:
        statistics = norm_statistics or ("both" if recipe == "reference" or settings.freeze else "synthetic")
        adapting = AdaptSettings(similarity, baseline, validate, holdout, selection, statistics)  # type: ignore[arg-type]
    else:
        context = click.get_current_context()
        for name in ("similarity", "validate", "holdout", "selection", "norm_statistics"):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --synthetic or --baseline")
    with progress(f"train on {len(opened.samples)} images") as update, stop_on_signals() as stopped:
        result = run_adapt(
            opened,
            output,
            settings,
            synthetic=synthetic,
            adapting=adapting,
            targets=targets,
            device=device,
            restart=restart,
            allow_changed_files=allow_changed_files,
            max_failures=max_failures,
            notify=lambda message: click.echo(message, err=True),
            on_progress=update,
            stopped=stopped,
            **running,
        )
    if not result.main:
        sys.exit(0 if result.finished else stopped.exit_status)
    write_config(result.output / "config.toml")
    again = "interrupted; give the same command again to go on" + (", without --restart" if restart else "")
    click.echo(
        f"{result.steps} steps, {result.seconds:.1f} s: {output}" if result.finished else again,
        err=json_file == "-" or not result.finished,
    )
    if result.skipped:
        click.echo(f"{result.skipped} steps changed nothing: the labels in their crops are void everywhere", err=True)
    if result.oracle is not None and json_file != "-":
        click.echo("oracle only, for the record: nothing was chosen by these labels")
        print_table(result.oracle)
    write_json(
        json_file,
        {
            "output": str(result.output),
            "finished": result.finished,
            "steps": result.steps,
            "seconds": round(result.seconds, 3),
            "oracle": result.oracle,
            "skipped": result.skipped,
            "failures": result.failures,
        },
    )
    if not result.finished:
        sys.exit(stopped.exit_status)
