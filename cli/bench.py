"""`zodi bench`: measure engines beside their peers."""

from pathlib import Path
from typing import Any

import click

from zodi.cli.options import Size, json_option, write_json

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
    type=click.Choice(["torch", "ort", "openvino"]),
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


def print_rows(rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> None:
    """Rows as a table, numbers to the right; "-" for what was not measured."""
    table = [[heading for heading, _ in columns.values()]]
    for row in rows:
        table.append(["-" if row[key] is None else form.format(row[key]) for key, (_, form) in columns.items()])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join([line[0].ljust(widths[0]), *cells[1:]]))
