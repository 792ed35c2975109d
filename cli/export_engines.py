"""`zodi export-engines`: make the files that ONNX Runtime, OpenVINO and TensorRT run from."""

from contextlib import ExitStack
from pathlib import Path

import click

from zodi.cli.options import images_options, json_option, model_options, write_json


@click.command("export-engines")
@model_options
@images_options
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
    help="Short side of images twice as wide, or of those of --root; or both sides. [default: the model's short side]",
)
@click.option("--batch", default="1:4:4", show_default=True, metavar="N|MIN:OPT:MAX", help="Images per batch.")
@click.option(
    "--static/--dynamic",
    default=None,
    help="For images of one size, or of any size up to twice the longer side. [default: static; with --root, what "
    "its images need]",
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
    dataset: str | None,
    root: Path | None,
    split: str | None,
    condition: str | None,
    engine: str,
    precision: str,
    device: str,
    image_size: str | None,
    batch: str,
    static: bool | None,
    bundle: Path | None,
    from_onnx: Path | None,
    capabilities: tuple[str, ...],
    workspace_mib: int | None,
    optimization_level: int,
    json_file: str | None,
) -> None:
    """Write a model's five graphs as ONNX files, check each against PyTorch, and try them on the engine.

    For trt, TensorRT plans are built from them, for the GPU that is here or for those that are named. With --root the
    files take the images of that data set, at the sizes that a transfer gives them. What is there and current is left
    alone, so an interrupted export resumes where it stopped.
    """
    if root is None and (dataset, split, condition) != (None, None, None):
        raise click.UsageError("--dataset, --split and --condition say which images of --root: give that too")
    if from_onnx is not None and (root, image_size, static) != (None, None, None):
        raise click.UsageError(
            "--from-onnx takes files as they are: leave out --root, --image-size, --static, --dynamic"
        )
    from zodi import api
    from zodi.cli.progress import progress
    from zodi.engines.profile import parse_batch, parse_image_size

    images = None
    if root is not None:
        from zodi.data.sizes import count_sizes

        opened = api.open_dataset(dataset, root, split=split, condition=condition, need_labels=False)
        images = count_sizes(opened.samples)
    with ExitStack() as stack:
        update = stack.enter_context(progress("plans")) if engine == "trt" else lambda done, total, note: None
        made = api.export_engines(
            api.ModelChoice(model, controlnet, variant, revision),
            api.EngineChoice(engine, precision, device, bundle),
            sizes=api.ExportChoice(parse_image_size(image_size), parse_batch(batch), static, images),
            from_onnx=from_onnx,
            plans=api.PlanChoice(capabilities, workspace_mib, optimization_level),
            notify=lambda message: click.echo(message, err=json_file == "-"),
            on_progress=update,
        )
    click.echo(f"bundle: {made.directory}", err=json_file == "-")
    write_json(json_file, made.to_json())
