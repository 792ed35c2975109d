"""`zodi evaluate`: score a segmenter on labelled data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zodi.cli.options import (
    DATASETS,
    Size,
    dataset_options,
    failures_option,
    json_option,
    tell,
    tell_before_run,
    tell_left_out,
    write_json,
)

if TYPE_CHECKING:
    from zodi.data import Dataset
    from zodi.segmenter.evaluate import Part, Score

RESULTS = "evaluation.json"


class Scale(Size):
    """HxW, or "source"."""

    name = "HxW|source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "source" else super().convert(value, param, ctx)


class Scales(click.ParamType[tuple[float, ...]]):
    """Factors with commas between them."""

    name = "F,F,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of factors, e.g. 0.75,1,1.25", param, ctx)


@click.command("evaluate")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("places", nargs=-1, metavar="[[LAYOUT=]DIR]...")
@dataset_options
@click.option(
    "--scale", type=Scale(), help="Resize images to it, or take them as they are. [default: as the model was trained]"
)
@click.option(
    "--score-at",
    default="scale",
    show_default=True,
    type=click.Choice(["scale", "label"]),
    help="Resize labels to the scale as the paper does, or enlarge predictions to the label's size.",
)
@click.option(
    "--classes",
    multiple=True,
    metavar="synthia-16|synthia-13|A,B,...",
    help="Also average over these classes; may be repeated.",
)
@click.option(
    "--merge",
    multiple=True,
    metavar="A=B,...|FILE.toml",
    help="Count class A as B, in labels and predictions or, after labels: or predictions:, in one; may be repeated.",
)
@click.option("--window", type=Size(), help="Predict by sliding windows of this size.")
@click.option("--scales", type=Scales(), default=(1.0,), help="Average predictions over these factors of the scale.")
@click.option("--flip", is_flag=True, help="Average with the prediction of the mirror image.")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1), help="Images per forward pass.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read images.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write the results and pictures there."
)
@click.option(
    "--overlays",
    default=8,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Pictures of the first N images of each condition, with -o.",
)
@click.option(
    "--acdc-zip",
    type=click.Path(path_type=Path),
    metavar="FILE.zip",
    help="Predict instead of score: write the archive that the ACDC server takes; use with --split test.",
)
@failures_option
@json_option
def command(model: Path, places: tuple[str, ...], json_file: str | None, **options: Any) -> None:
    """Score MODEL, a checkpoint or an exported file, on labelled images: IoU per class, mean IoU, pixel accuracy.

    Give one or more data sets: --root DIR, or DIR or LAYOUT=DIR after the model; the other data-set options hold for
    all of them. Of ACDC each condition has its own result.
    """
    if not places and options["root"] is None:
        raise click.UsageError("Missing option '--root', or a data set after the model.")

    from zodi.cli.progress import progress
    from zodi.data.label_meaning import check_labels
    from zodi.segmenter.acdc import write_acdc_zip
    from zodi.segmenter.class_views import read_view
    from zodi.segmenter.evaluate import EvaluateSettings, as_json, evaluate
    from zodi.segmenter.failures import Failures
    from zodi.segmenter.model import open_model
    from zodi.segmenter.predict import PredictSettings

    settings = EvaluateSettings(
        scale=options["scale"],
        score_at=options["score_at"],
        predict=PredictSettings(options["window"], options["scales"], options["flip"]),
        batch=options["batch"],
        view=read_view(options["classes"], options["merge"]),
    )
    datasets = open_places(places, options)
    tell_before_run(*datasets)
    for dataset in datasets:
        check_labels(dataset, tell)
    segmenter = open_model(model, options["device"])
    if options["acdc_zip"] is not None:
        if len(datasets) != 1:
            raise click.UsageError("--acdc-zip takes one data set.")
        if options["classes"] or options["merge"]:
            raise click.UsageError("--acdc-zip scores nothing: leave out --classes and --merge.")
        with progress("predict") as update:
            images = write_acdc_zip(
                segmenter, datasets[0], options["acdc_zip"], settings, workers=options["workers"], on_progress=update
            )
        click.echo(f"{images} predictions in {options['acdc_zip']}", err=json_file == "-")
        write_json(json_file, {"model": str(model), "acdc_zip": str(options["acdc_zip"]), "images": images})
        return
    pictures = _Pictures(options["output"], options["overlays"], segmenter.info.palette)
    failures = Failures(options["max_failures"], tell_left_out)
    with progress("evaluate") as update:
        scores = evaluate(
            segmenter,
            datasets,
            settings,
            workers=options["workers"],
            failures=failures,
            on_image=pictures.draw,
            on_progress=update,
        )
    content = as_json(model, settings.declared(segmenter), scores, failures.messages)
    pictures.finish(scores, content)
    if json_file != "-":
        print_table(content)
    write_json(json_file, content)


def print_table(content: dict[str, Any]) -> None:
    """Results side by side, classes below each other, in per cent; an absent class is a dash."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    results = content["results"]
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{content['model']}, scale {content['scale']}, IoU in %"))
    table = Table("class")
    for result in results:
        title = "\n".join(part for part in (result["dataset"], result["condition"]) if part)
        table.add_column(Text(f"{title}\n{result['images']} images"), justify="right")
    for name in results[0]["iou"]:
        table.add_row(Text(name), *(_per_cent(result["iou"][name]) for result in results))
    table.add_section()
    table.add_row("mean IoU", *(_per_cent(result["miou"]) for result in results), style="bold")
    for name, subset in content.get("subsets", {}).items():
        title = f"mean IoU, {name if ',' not in name else f'{len(subset)} classes'}"
        table.add_row(Text(title), *(_per_cent(result["miou_subsets"][name]) for result in results), style="bold")
    table.add_row("pixel accuracy", *(_per_cent(result["pixel_accuracy"]) for result in results), style="bold")
    console.print(table)


class _Pictures:
    """Draws the first images of each part while they are evaluated, and the rest of the output at the end."""

    def __init__(self, output: Path | None, overlays: int, palette: tuple[tuple[int, int, int], ...]) -> None:
        self._output, self._overlays, self._palette = output, overlays, palette
        self._drawn: dict[str, int] = {}

    def draw(self, part: "Part", sample: Any, image: Any, truth: Any, prediction: Any) -> None:
        folder = _folder(part.name, part.condition)
        drawn = self._drawn.get(folder, 0)
        if self._output is None or drawn >= self._overlays:
            return
        from zodi.errors import FileNameError
        from zodi.segmenter.pictures import write_overlay

        self._drawn[folder] = drawn + 1
        path = self._output / "overlays" / folder / f"{sample.key.replace('/', '_')}.png"
        try:
            write_overlay(path, image, truth, prediction, self._palette)
        except FileNameError as error:
            click.echo(f"left out: {error}", err=True)

    def finish(self, scores: "list[Score]", content: dict[str, Any]) -> None:
        if self._output is None:
            return
        from zodi.segmenter.pictures import write_confusion

        for score in scores:
            write_confusion(self._output / f"confusion-{_folder(score.name, score.condition)}.png", score)
        write_json(str(self._output / RESULTS), content)


def open_places(places: tuple[str, ...], options: dict[str, Any]) -> "list[Dataset]":
    """The data sets of `[LAYOUT=]DIR`, after that of --root, read as the data-set options say."""
    from zodi.data import open_dataset

    wanted = [] if options["root"] is None else [(options["dataset"], options["root"])]
    for place in places:
        layout, equals, directory = place.partition("=")
        named = bool(equals) and layout in DATASETS
        wanted.append((layout, Path(directory)) if named else (options["dataset"], Path(place)))
    return [
        open_dataset(
            layout,
            directory,
            split=options["split"],
            condition=options["condition"],
            labels=options["labels"],
            label_set=options["label_set"],
            label_suffix=options["label_suffix"],
            trust_labels=options["trust_labels"],
            need_labels=options.get("acdc_zip") is None,
        )
        for layout, directory in wanted
    ]


def _per_cent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _folder(name: str, condition: str | None) -> str:
    return f"{name}-{condition}" if condition else name
