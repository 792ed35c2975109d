"""`zodi bench`: measure engines beside their peers."""

from pathlib import Path
from typing import Any

import click

from zodi.cli.options import Size, dataset_options, json_option, write_json

COLUMNS = {  # key of a row: (heading, format)
    "engine": ("engine", "{}"),
    "precision": ("precision", "{}"),
    "batch": ("batch", "{}"),
    "images_per_s": ("images/s", "{:.3g}"),
    "ms_per_denoiser_call": ("ms/call", "{:.4g}"),
    "outside_graphs_share": ("outside", "{:.1%}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "psnr_db": ("PSNR dB", "{:.1f}"),
    "ratio_to_diffusers": ("x diffusers", "{:.2f}"),
    "matrix_peak_share": ("of CPU peak", "{:.1%}"),
}


SEGMENTER_COLUMNS = {
    "format": ("format", "{}"),
    "precision": ("precision", "{}"),
    "batch": ("batch", "{}"),
    "ms_p50": ("ms p50", "{:.4g}"),
    "ms_p95": ("ms p95", "{:.4g}"),
    "images_per_s": ("images/s", "{:.3g}"),
    "size_mib": ("MiB", "{:.1f}"),
    "miou": ("mIoU", "{:.2%}"),
    "pixel_agreement": ("agreement", "{:.3%}"),
    "status": ("status", "{}"),
}


@click.group()
def command() -> None:
    """Measure engines beside what there was before."""


@command.command()
@click.option("--model", default="town", show_default=True, metavar="town|HUB|DIR", help="Diffusion model.")
@click.option("--controlnet", metavar="HUB|DIR", help="ControlNet for segmentation maps. [default: inside the model]")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["torch", "ort", "openvino", "trt"]),
    help="May be repeated. [default: every one that runs here]",
)
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "bf16", "fp16"]))
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR", help="The model's files. [default: the user's cache]"
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads. [default: all]")
@click.option("--size", type=Size(), help="Of the images. [default: the model's short side, twice as wide]")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images per batch.")
@click.option("--steps", default=20, show_default=True, type=click.IntRange(1), help="As for a transfer.")
@click.option("--strength", default=0.9, show_default=True, type=float, help="As for a transfer.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Denoiser calls that are timed.")
@click.option("--no-peer", is_flag=True, help="Do not measure diffusers.")
@click.option("--chart", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the times as bars.")
@json_option
def transfer(**options: Any) -> None:
    """Time the diffusion engines and diffusers' own pipeline: same weights, size, batch and threads.

    The peer has no inversion pass, so that it makes one denoiser call less for an image; the ratio is that of the time
    per call. PSNR is that of the images against torch in fp32 with the same noise.
    """
    from zodi import api

    result = api.bench_transfer(
        api.ModelChoice(options["model"], options["controlnet"]),
        api.EngineChoice("auto", options["precision"], options["device"], options["bundle"], options["threads"]),
        api.BenchChoice(
            engines=options["engines"],
            size=options["size"],
            batch=options["batch"],
            steps=options["steps"],
            strength=options["strength"],
            rounds=options["rounds"],
            peer=not options["no_peer"],
        ),
        notify=lambda message: click.echo(message, err=True),
    )
    if options["json_file"] != "-":
        print_rows(result["rows"], COLUMNS)
    if options["chart"] is not None:
        from zodi.bench_chart import draw_bars

        draw_bars(
            options["chart"],
            {f"{row['engine']} {row['precision']}": row["ms_per_denoiser_call"] for row in result["rows"]},
            "ms per denoiser call (less is better)",
        )
    write_json(options["json_file"], result)


@command.command()
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@dataset_options
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(["onnx", "openvino", "trt"]), help="May be repeated."
)
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="May be repeated.",
)  # fmt: skip
@click.option("--architecture", default="deeplabv3plus", show_default=True, metavar="NAME", help="Without CHECKPOINT.")
@click.option("--encoder", default="resnet50", show_default=True, metavar="NAME", help="Without CHECKPOINT.")
@click.option("--size", type=Size(), help="Of the images. [default: as the model was trained, else 512x1024]")
@click.option(
    "--batch", "batches", multiple=True, default=(1,), show_default=True, type=click.IntRange(1),
    help="Images per call; may be repeated.",
)  # fmt: skip
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(2), help="Calls that are timed.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads. [default: all]")
@click.option("--samples", default=20, show_default=True, type=click.IntRange(1), help="Images of the data set.")
@click.option(
    "--calibrate", multiple=True, metavar="[LAYOUT=]DIR", help="Images for int8. [default: those that are compared on]"
)
@click.option("--max-drop", default=0.5, show_default=True, type=float, metavar="POINTS", help="Of mIoU, with --root.")
@click.option("--chart", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the times as bars.")
@json_option
def segmenter(
    checkpoint: Path | None, calibrate: tuple[str, ...], chart: Path | None, json_file: str | None, **options: Any
) -> None:
    """Time a segmenter as every kind of file, beside eager and compiled PyTorch: from pixels to ids of classes.

    Without CHECKPOINT the weights are random, and agreement with PyTorch is all that can be said of a file's results.
    """
    from zodi import api
    from zodi.data import open_dataset

    names = ("split", "condition", "labels", "label_set", "label_suffix", "trust_labels")
    layout, root, given = options.pop("dataset"), options.pop("root"), {name: options.pop(name) for name in names}
    result = api.bench_segmenter(
        checkpoint,
        api.SegmenterBenchChoice(**options),
        dataset=None if root is None else open_dataset(layout, root, **given),
        calibrate=calibrate,
        notify=lambda message: click.echo(message, err=True),
    )
    if json_file != "-":
        print_rows(result["rows"], SEGMENTER_COLUMNS)
    timed = [row for row in result["rows"] if row["ms_p50"] is not None]
    if chart is not None:
        from zodi.bench_chart import draw_bars

        batched = len(options["batches"]) > 1
        draw_bars(
            chart,
            {
                f"{row['format']} {row['precision']}" + (f", {row['batch']} images" if batched else ""): row["ms_p50"]
                for row in timed
            },
            "ms per call (less is better)",
        )
    write_json(json_file, result)


def print_rows(rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> None:
    """Rows as a table, numbers to the right, a closing status to the left; "-" for what was not measured."""
    table = [[heading for heading, _ in columns.values()]]
    for row in rows:
        table.append(["-" if row[key] is None else form.format(row[key]) for key, (_, form) in columns.items()])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        last = line[-1:] if "status" in columns else cells[-1:]
        click.echo("  ".join([line[0].ljust(widths[0]), *cells[1:-1], *last]))
