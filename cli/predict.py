"""`zodi predict`: class ids and overlays of images and videos, by a checkpoint or an exported file."""

from pathlib import Path
from typing import Any

import click

from zodi.cli.options import json_option, write_json


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the pictures go."
)
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Also draw classes over the images.")
@click.option(
    "--labels",
    default="palette",
    show_default=True,
    type=click.Choice(["palette", "grey"]),
    help="PNG files of ids with the classes' colours as a palette, or of plain 8-bit grey, as OpenCV reads ids.",
)
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images per call.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads. [default: all]")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read images.")
@json_option
def command(model: Path, images: tuple[str, ...], json_file: str | None, **options: Any) -> None:
    """Segment IMAGES (files, folders or glob patterns) with MODEL: a checkpoint, or an exported .onnx, .xml or .engine.

    DIR/labels holds PNG files of train ids, DIR/overlays the images in the classes' colours; what lies there is not
    predicted itself. Of a video there is a PNG file for each frame, and an MP4 file of the overlays. Images may have
    any size: they are resized or cut into windows as the file says. Only checkpoints need PyTorch.
    """
    from zodi.cli.progress import progress
    from zodi.predicting import predict_images

    with progress("predict") as update:
        done = predict_images(
            model,
            images,
            options.pop("output"),
            **options,
            notify=lambda message: click.echo(f"note: {message}", err=True),
            on_progress=update,
        )
    for path, reason in done.failed.items():
        click.echo(f"left out: {reason}" if path in reason else f"left out: {path}: {reason}", err=True)
    if json_file != "-":
        frames = sum(video.frames for video in done.videos.values())
        of_videos = f", {frames} frames of {len(done.videos)} videos" if done.videos else ""
        click.echo(f"{len(done.labels)} images{of_videos} predicted, {len(done.failed)} left out, {done.seconds:.1f} s")
    films = {
        key: {"labels": str(video.labels), "frames": video.frames, "overlay": video.overlay and str(video.overlay)}
        for key, video in done.videos.items()
    }
    content = {
        "model": str(model),
        "images": {key: str(path) for key, path in done.labels.items()},
        **({"videos": films} if films else {}),
        "failed": done.failed,
        "seconds": done.seconds,
    }
    write_json(json_file, content)
    if done.failed:
        raise SystemExit(1)
