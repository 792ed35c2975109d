"""`zodi data`: check a data set, or make the procedural one."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zodi.cli.options import Size, dataset_options, json_option, need, write_json

if TYPE_CHECKING:
    from zodi.data.check import Report


@click.group()
def command() -> None:
    """Check data sets and make them."""


@command.command()
@dataset_options
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Files read at a time.")
@json_option
def check(
    dataset: str | None,
    root: Path | None,
    split: str | None,
    condition: str | None,
    labels: str | None,
    label_set: str | None,
    label_suffix: str | None,
    trust_labels: bool,
    workers: int,
    json_file: str | None,
) -> None:
    """Read every image and label; print counts, sizes, class shares and all problems.

    Exit status 1 if there is any problem.
    """
    directory = need(root, "--root")
    from zodi.data import open_dataset
    from zodi.data.check import check_dataset

    reading: dict[str, Any] = {
        "labels": labels, "label_set": label_set, "label_suffix": label_suffix, "trust_labels": trust_labels,
    }  # fmt: skip
    opened = open_dataset(dataset, directory, split=split, condition=condition, strict=False, **reading)
    with _progress("checking", len(opened.samples)) as advance:
        report = check_dataset(opened, workers=workers, progress=advance)
    if json_file != "-":
        _print_report(report)
    write_json(json_file, report.as_json())
    if report.problems:
        sys.exit(1)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--domain", default="clear", show_default=True, help="How the world looks: clear, night, ...")
@click.option("--scenes", type=click.IntRange(min=1), default=100, show_default=True, help="Number of images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which scenes are drawn.")
@click.option("--size", type=Size(), default="128x256", show_default=True, help="Height and width in pixels.")
def town(directory: Path, domain: str, scenes: int, seed: int, size: tuple[int, int]) -> None:
    """Write labelled images of a procedural street world to DIRECTORY."""
    from zodi.town.dataset import write_dataset

    with _progress("drawing", scenes) as advance:
        write_dataset(directory, domain=domain, scenes=scenes, seed=seed, size=size, progress=advance)
    click.echo(f"{scenes} scenes in {directory}: use it with --root {directory}")


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error that is told how many are done; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _print_report(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # a Text is never read as markup, whatever is in a path

    from zodi.data.dataset import in_brief

    console = Console(soft_wrap=True, highlight=False)
    dataset = report.dataset
    parts = [dataset.name, dataset.split and f"split {dataset.split}", dataset.condition]
    console.print(Text(f"{dataset.root}: {', '.join(part for part in parts if part)}"))
    console.print(f"{len(dataset.samples)} images, labels of kind {dataset.labels}, label set ", end="")
    console.print(Text(dataset.label_set.name))
    for (height, width), images in report.sizes.items():
        console.print(f"  {height}x{width}: {images} images")
    table = Table("class", "% of pixels")
    table.columns[1].justify = "right"
    for name, share in [*report.classes.items(), ("void", report.void_share)]:
        table.add_row(Text(name), f"{100 * share:.2f}")
    console.print(table)
    if report.absent:
        console.print(Text(f"absent: {', '.join(report.absent)}"))
    for line in in_brief(report.problems, examples=2):
        console.print(Text(line, style="red"))
    for note in report.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    console.print(f"{len(report.problems)} problems" if report.problems else "no problems")
