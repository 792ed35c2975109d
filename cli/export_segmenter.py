"""`zodi export-segmenter`: a checkpoint as one file that runs without PyTorch."""

from pathlib import Path
from typing import Any

import click

from zodi.cli.options import Size, dataset_options, json_option, write_json

DIRECTORY = click.Path(path_type=Path)


@click.command("export-segmenter")
@click.argument("checkpoint", type=DIRECTORY)
@click.option("--format", default="onnx", show_default=True, type=click.Choice(["onnx", "openvino", "trt"]))
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "fp16", "bf16", "int8"]))
@click.option("--opset", type=int, metavar="N", help="Of the ONNX graph: 18 to 23. [default: 20, with bf16 22]")
@click.option("--size", type=Size(), help="Of the images in the file. [default: as the model was trained]")
@click.option(
    "--dynamic",
    default="batch",
    show_default=True,
    type=click.Choice(["batch", "all", "none"]),
    help="What may vary from call to call.",
)
@click.option(
    "--output",
    default="labels",
    show_default=True,
    type=click.Choice(["labels", "logits", "probabilities"]),
    help="What the file returns: ids of classes (uint8), or a float for each class.",
)
@click.option("--batch", default="1:1:8", show_default=True, metavar="N|MIN:OPT:MAX", help="Images per call.")
@click.option(
    "--fit",
    default="resize",
    show_default=True,
    type=click.Choice(["resize", "window"]),
    help="What is done with images of another size: resize them, or slide a window over them.",
)
@click.option(
    "--calibrate",
    multiple=True,
    metavar="[LAYOUT=]DIR",
    help="Images for int8: data sets or plain folders, source and synthetic; may be repeated.",
)
@click.option(
    "--calibration",
    default="minmax",
    show_default=True,
    type=click.Choice(["minmax", "entropy", "percentile"]),
    help="How ranges for int8 are found.",
)
@click.option(
    "--calibration-images", default=128, show_default=True, type=click.IntRange(1), help="Of all --calibrate together."
)
@dataset_options
@click.option(
    "--samples", default=100, show_default=True, type=click.IntRange(1), help="Images of the data set to compare on."
)
@click.option(
    "--max-drop",
    default=0.5,
    show_default=True,
    type=float,
    metavar="POINTS",
    help="Refuse a file that loses more.",
)
@click.option(
    "--compute-capability",
    "compute_capabilities",
    multiple=True,
    metavar="X.Y",
    help="For trt: build for this GPU ahead of time; may be repeated. [default: the GPU that is here]",
)
@click.option("--triton", type=DIRECTORY, metavar="DIR", help="Also write a model repository for NVIDIA Triton there.")
@click.option("-o", "directory", required=True, type=DIRECTORY, metavar="DIR", help="Where the file and report go.")
@json_option
def command(
    checkpoint: Path,
    directory: Path,
    calibrate: tuple[str, ...],
    calibration_images: int,
    samples: int,
    triton: Path | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Export the segmenter CHECKPOINT: uint8 RGB in, class ids out, normalisation inside.

    The file is compared with PyTorch on the labelled data set that --root names (else on rendered street scenes), and
    refused where it loses more than --max-drop. report.json and report.md beside it have the figures.
    """
    from zodi import api
    from zodi.data import open_dataset
    from zodi.engines.profile import parse_batch

    names = ("split", "condition", "labels", "label_set", "label_suffix", "trust_labels")
    layout, root, given = options.pop("dataset"), options.pop("root"), {name: options.pop(name) for name in names}
    choice = api.SegmenterChoice(**{**options, "batch": parse_batch(options["batch"])})
    report = api.export_segmenter(
        checkpoint,
        directory,
        choice,
        dataset=None if root is None else open_dataset(layout, root, **given),
        samples=samples,
        calibrate=calibrate,
        calibration_images=calibration_images,
        triton=triton,
        notify=lambda message: click.echo(message, err=True),
    )
    if json_file != "-":
        print_report(directory, report)
    write_json(json_file, report)


def print_report(directory: Path, report: dict[str, Any]) -> None:
    """What the file is like, in a few lines."""
    figures = report["figures"] or report["graph"]
    agreement = f"{figures['pixel_agreement']:.3%} of pixels as in PyTorch"
    if figures["miou_file"] is not None:
        agreement += f", mIoU {figures['miou_file']:.2%} (PyTorch {figures['miou_torch']:.2%})"
    click.echo(f"{directory / report['file']}: {report['mib']:.1f} MiB, {agreement}, on {report['samples']}")
    if "onnxruntime" in (made := report["metadata"]["made"]):
        needs = f"needs ONNX Runtime {made['onnxruntime']} or later"
        click.echo(f"opset {made['opset']}, IR version {made['ir_version']}: {needs}")
    if report["not_run"]:
        click.echo(f"these are the figures of its ONNX graph; the file was not run here: {report['not_run']}")
