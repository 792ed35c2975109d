"""Options that several commands share, and the forms their values take."""

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zodi.data import Dataset

DATASETS = (
    "cityscapes", "acdc", "gta5", "camvid", "folder", "bdd100k", "dark-zurich", "idd", "synthia", "vistas",
)  # fmt: skip
LABEL_KINDS = ("ids", "train-ids", "colours")

Command = Callable[..., Any]


class Size(click.ParamType[tuple[int, int]]):
    """HxW in pixels, e.g. 512x1024."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a size: write HEIGHTxWIDTH in pixels, e.g. 512x1024", param, ctx)
        return int(match[1]), int(match[2])


class Shard(click.ParamType[tuple[int, int]]):
    """i/n with 0 <= i < n."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)/([1-9]\d*)", str(value))
        if match is None or int(match[1]) >= int(match[2]):
            self.fail(f"{value!r} is not a shard: write i/n with i from 0 to n-1, e.g. 0/4", param, ctx)
        return int(match[1]), int(match[2])


def images_options(command: Command) -> Command:
    """`--dataset --root --split --condition`: which images."""
    options = [
        click.option("--dataset", type=click.Choice(DATASETS), help="Layout. [default: what DIR/dataset.json says]"),
        click.option("--root", type=click.Path(path_type=Path), metavar="DIR", help="Where the data set is."),
        click.option("--split", metavar="NAME", help="Split, e.g. train; for gta5 the name of a list file."),
        click.option(
            "--condition",
            metavar="NAME",
            help="Of ACDC: fog, night, rain or snow; of Dark Zurich: day, twilight or night. [default: all]",
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def dataset_options(command: Command) -> Command:
    """`images_options`, and `--labels --label-set --label-suffix --trust-labels`: labelled images."""
    options = [
        click.option("--labels", type=click.Choice(LABEL_KINDS), help="What the label files hold."),
        click.option(
            "--label-set",
            metavar="NAME|FILE.toml",
            help="The classes: cityscapes, camvid, camvid-32, idd, synthia, vistas, or your own.",
        ),
        click.option(
            "--label-suffix", metavar="END", help="How names of labels end beyond those of their images, e.g. _L."
        ),
        click.option("--trust-labels", is_flag=True, help="Go on with labels that look like another kind."),
    ]
    return images_options(functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command))


def source_options(command: Command) -> Command:
    """`--source`, the data-set options, and `--synthetic`: what was transferred, and what became of it."""
    source = click.option(
        "--source", type=click.Path(path_type=Path), metavar="DIR", help="The labelled source data set; as --root."
    )
    synthetic = click.option(
        "--synthetic",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="DIR",
        help="What zodi transfer made of it: OUT for all its domains or OUT/DOMAIN; may be repeated.",
    )
    return source(dataset_options(synthetic(command)))


def model_options(command: Command) -> Command:
    """`--model --controlnet --variant --revision`: which diffusion model."""
    options = [
        click.option(
            "--model",
            default="town",
            show_default=True,
            metavar="town|HUB|DIR",
            help="Diffusion model: the bundled one, a hub id, or a directory in diffusers format.",
        ),
        click.option(
            "--controlnet", metavar="HUB|DIR", help="ControlNet for segmentation maps. [default: inside the model]"
        ),
        click.option("--variant", metavar="NAME", help="Variant of the weight files, ControlNet included, e.g. fp16."),
        click.option("--revision", metavar="REV", help="Branch, tag or commit of the model's hub repository."),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def failures_option(command: Command) -> Command:
    """`--max-failures`: images and labels that cannot be used."""
    return click.option(
        "--max-failures",
        default=10,
        show_default=True,
        type=click.IntRange(0),
        metavar="N",
        help="Images and labels that cannot be used: so many are named and left out, more are an error.",
    )(command)


def tell(message: str) -> None:
    """Print what is to be known of a run to standard error."""
    click.echo(f"note: {message}", err=True)


def tell_left_out(message: str) -> None:
    """Print what cannot be used, and why, to standard error."""
    click.echo(f"left out: {message}", err=True)


def json_option(command: Command) -> Command:
    """`--json FILE|-`: the same content as on screen, as one JSON object."""
    return click.option(
        "--json", "json_file", metavar="FILE|-", help="Write one JSON object there; - is the terminal."
    )(command)


def write_json(json_file: str | None, content: object) -> None:
    """Write `content` to a file or, for "-", to standard output; nothing for None. Numbers not known are null.

    Raises OutputError where it cannot be written; a reader that is gone is none.
    """
    if json_file is None:
        return
    from zodi import strict_json
    from zodi.files import cannot_write, utf8, write_atomic

    text = utf8(strict_json.dumps(content) + "\n")
    if json_file == "-":
        from zodi.cli.streams import take_refusal

        sys.stdout.write(text.decode())
        if (error := take_refusal()) is not None:
            raise cannot_write(Path("standard output"), error)
    else:
        write_atomic(Path(json_file), text)


def tell_before_run(*datasets: "Dataset") -> None:
    """Print what is to be known of data sets before hours are spent on them, in few lines."""
    from zodi.data.check import before_run

    if os.environ.get("RANK", "0") != "0":  # of the processes of `accelerate launch` only the first one tells
        return
    for dataset in datasets:
        for line in before_run(dataset):
            click.echo(f"note: {line}", err=True)


def need(value: Any, option: str) -> Any:
    """The value of an option that only the bare command needs; click's usage error where it is missing."""
    if value is None:
        raise click.UsageError(f"Missing option '{option}'.", click.get_current_context())
    return value
