"""`zodi export-engines`: make the files that ONNX Runtime and OpenVINO run from."""

from pathlib import Path

import click

from zodi.cli.options import json_option, model_options, write_json


@click.command("export-engines")
@model_options
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "ort", "openvino", "onnx"]),
    help="Check the files on this engine, here; onnx: only make them, e.g. for another machine.",
)
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "bf16", "fp16"]))
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option(
    "--image-size",
    metavar="PIXELS|HxW",
    help="Short side of images twice as wide, or both sides. [default: the model's short side]",
)
@click.option("--batch", default="1:4:4", show_default=True, metavar="N|MIN:OPT:MAX", help="Images per batch.")
@click.option(
    "--static/--dynamic",
    default=True,
    show_default=True,
    help="For images of one size, or of any size up to twice the longer side.",
)
@click.option("--bundle", type=click.Path(path_type=Path), metavar="DIR", help="Where to. [default: the user's cache]")
@click.option(
    "--from-onnx",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Take the files of a bundle that was made elsewhere; needs neither weights nor a hub.",
)
@json_option
def command(
    model: str,
    controlnet: str | None,
    variant: str | None,
    revision: str | None,
    engine: str,
    precision: str,
    device: str,
    image_size: str | None,
    batch: str,
    static: bool,
    bundle: Path | None,
    from_onnx: Path | None,
    json_file: str | None,
) -> None:
    """Write a model's five graphs as ONNX files, check each against PyTorch, and try them on the engine.

    What is there and current is left alone, so a broken export goes on where it stopped.
    """
    from zodi import api
    from zodi.engines.profile import parse_batch, parse_image_size

    sizes = api.ExportChoice(parse_image_size(image_size), parse_batch(batch), static)
    made = api.export_engines(
        api.ModelChoice(model, controlnet, variant, revision),
        api.EngineChoice(engine, precision, device, bundle),
        sizes=sizes,
        from_onnx=from_onnx,
        notify=lambda message: click.echo(message, err=json_file == "-"),
    )
    click.echo(f"bundle: {made.directory}", err=json_file == "-")
    write_json(json_file, made.to_json())
