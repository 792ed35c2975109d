"""`zodi export-engines`: make the files that ONNX Runtime, OpenVINO and TensorRT run from."""

from contextlib import ExitStack
from pathlib import Path

import click

from zodi.cli.options import json_option, model_options, write_json


@click.command("export-engines")
@model_options
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "ort", "openvino", "trt", "onnx"]),
    help="Build for this engine, and check it here; onnx: only make the files, e.g. for another machine.",
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
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="X.Y",
    help="trt: build ahead of time for such RTX GPUs, needs none here; may be repeated. [default: the GPU here]",
)
@click.option("--workspace-mib", type=click.IntRange(1), metavar="N", help="trt: memory that a layer may use.")
@click.option(
    "--optimization-level",
    default=3,
    show_default=True,
    type=click.IntRange(0, 5),
    help="trt: 0 builds fast, 5 runs fast.",
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
    capabilities: tuple[str, ...],
    workspace_mib: int | None,
    optimization_level: int,
    json_file: str | None,
) -> None:
    """Write a model's five graphs as ONNX files, check each against PyTorch, and try them on the engine.

    For trt, TensorRT plans are built from them, for the GPU that is here or for those that are named. What is there and
    current is left alone, so a broken export goes on where it stopped.
    """
    from zodi import api
    from zodi.cli.progress import progress
    from zodi.engines.profile import parse_batch, parse_image_size

    with ExitStack() as stack:
        update = stack.enter_context(progress("plans")) if engine == "trt" else lambda done, total, note: None
        made = api.export_engines(
            api.ModelChoice(model, controlnet, variant, revision),
            api.EngineChoice(engine, precision, device, bundle),
            sizes=api.ExportChoice(parse_image_size(image_size), parse_batch(batch), static),
            from_onnx=from_onnx,
            plans=api.PlanChoice(capabilities, workspace_mib, optimization_level),
            notify=lambda message: click.echo(message, err=json_file == "-"),
            on_progress=update,
        )
    click.echo(f"bundle: {made.directory}", err=json_file == "-")
    write_json(json_file, made.to_json())
