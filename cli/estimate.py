"""`zodi estimate`: how a segmenter would do in a domain of which there is no image."""

from pathlib import Path
from typing import Any

import click

from zodi.cli.options import (
    failures_option,
    json_option,
    need,
    source_options,
    tell,
    tell_before_run,
    tell_left_out,
    write_json,
)


@click.command("estimate")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@source_options
@click.option(
    "--holdout",
    type=float,
    metavar="SHARE",
    help="Only the images that zodi adapt --validate ... --holdout SHARE kept out. [default: all]",
)
@click.option(
    "--resamples", default=1000, show_default=True, type=click.IntRange(1), help="Sets of images for the interval."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of these sets.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read images.")
@failures_option
@json_option
def command(
    checkpoint: Path,
    source: Path | None,
    dataset: str | None,
    root: Path | None,
    synthetic: tuple[Path, ...],
    json_file: str | None,
    split: str | None,
    condition: str | None,
    labels: str | None,
    label_set: str | None,
    label_suffix: str | None,
    trust_labels: bool,
    max_failures: int,
    **options: Any,
) -> None:
    """Estimate the mIoU of the segmenter CHECKPOINT in a domain by transferred images and their sources' labels.

    The interval says how much the choice of scenes matters, not how far transferred images are from real ones. Use
    scenes that the segmenter was not trained on, else the estimate is too high.
    """
    directory = need(source or root, "--source")
    need(synthetic or None, "--synthetic")

    from zodi.api import estimate_target
    from zodi.cli.progress import progress
    from zodi.data import open_dataset
    from zodi.segmenter.failures import Failures

    reading: dict[str, Any] = {
        "labels": labels, "label_set": label_set, "label_suffix": label_suffix, "trust_labels": trust_labels,
    }  # fmt: skip
    opened = open_dataset(dataset, directory, split=split, condition=condition, **reading)
    tell_before_run(opened)
    failures = Failures(max_failures, tell_left_out)
    with progress("estimate") as update:
        rows = estimate_target(
            checkpoint, opened, synthetic, failures=failures, notify=tell, on_progress=update, **options
        )
    for row in rows:
        low, high = (f"{100 * row[key]:.1f}" if row[key] is not None else "-" for key in ("low", "high"))
        click.echo(
            f"{row['domain']}: mean IoU {100 * row['miou']:.1f} %, 95 % interval {low} to {high}, "
            f"{row['images']} transferred images",
            err=json_file == "-",
        )
    left_out = {"failures": failures.messages} if failures.messages else {}
    write_json(json_file, {"model": str(checkpoint), "results": rows} | left_out)
