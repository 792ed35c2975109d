"""Export of a segmenter: traced, brought to a precision, compared with PyTorch, and only then put in its place."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from zodi import __version__
from zodi.engines.bundle import file_sha256
from zodi.engines.segmenters import Images, open_segmenter
from zodi.engines.trt_build import PlanChoice
from zodi.engines.trt_plans import find_target
from zodi.errors import EngineError, ModelError, OutputError, SettingsError
from zodi.export.acceptance import Reference, Samples, make_reference, measure, refusals
from zodi.export.half import convert_precision
from zodi.export.onnx_file import ONNXRUNTIMES, OPSETS, lowest_ir
from zodi.export.quantise import RANKING_IMAGES, Calibration, calibrate, quantise, rank_layers, steps
from zodi.export.report import write_report
from zodi.export.segmenter_files import FILES, open_graph, run_logits, write_file
from zodi.export.segmenter_onnx import LOGITS, add_head, attach_metadata, exporter, trace
from zodi.segmenter.checkpoint import Segmenter
from zodi.segmenter.info import DYNAMIC, FITS, FORMATS, OUTPUTS, PRECISIONS, FileInfo
from zodi.segmenter.nets import as_segmenter
from zodi.segmenter.predict import check_size

Notify = Callable[[str], None]
Size = tuple[int, int]

FINISHED = "finished.onnx"  # the graph with its head


@dataclass(frozen=True)
class SegmenterChoice:
    """Which file is made of a checkpoint; see `zodi.segmenter.info.FileInfo`.

    size         (height, width); None: the checkpoint's
    batch        smallest, usual and largest number of images; where nothing may vary, the usual one
    calibration  how ranges for int8 are found: "minmax", "entropy" or "percentile"
    max_drop     points of mIoU that may be lost
    compute_capabilities  of the GPUs that a TensorRT plan is built for ahead of time
    opset        of the ONNX graph that the file is or is made of; None: the usual one of the precision
    """

    format: str = "onnx"
    precision: str = "fp32"
    size: Size | None = None
    dynamic: str = "batch"
    output: str = "labels"
    batch: tuple[int, int, int] = (1, 1, 8)
    fit: str = "resize"
    calibration: str = "minmax"
    max_drop: float = 0.5
    compute_capabilities: tuple[str, ...] = ()
    opset: int | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("format", self.format, FORMATS), ("precision", self.precision, PRECISIONS),
            ("dynamic", self.dynamic, DYNAMIC), ("output", self.output, OUTPUTS), ("fit", self.fit, FITS),
        ):  # fmt: skip
            if value not in allowed:
                raise SettingsError(f"{name} is {value!r}, allowed are {', '.join(allowed)}")
        lowest, highest = OPSETS["bf16"] if self.precision == "bf16" else min(ONNXRUNTIMES), max(ONNXRUNTIMES)
        if self.opset is not None and not lowest <= self.opset <= highest:
            raise SettingsError(f"opset is {self.opset}, allowed for {self.precision} are {lowest} to {highest}")


def describe(segmenter: Segmenter, choice: SegmenterChoice, weights: str) -> FileInfo:
    """What the file will say of itself. Raises SettingsError for a size that the net does not take."""
    multiple = as_segmenter(segmenter.net).multiple
    size = choice.size or segmenter.info.size
    wrong = next((side for side in size if side % multiple), None)
    if wrong is not None:
        near = [max(1, round(side / multiple)) * multiple for side in size]
        raise SettingsError(
            f"size is {size[0]}x{size[1]}, sides of {segmenter.info.architecture} on {segmenter.info.encoder} must be "
            f"multiples of {multiple}: use --size {near[0]}x{near[1]}"
        )
    check_size(segmenter.net, segmenter.info, size)
    _, usual, _ = choice.batch
    opset = choice.opset or OPSETS.get(choice.precision, OPSETS["fp32"])
    made = {"exporter": exporter(), "opset": opset}
    if choice.format == "onnx":
        made |= {"ir_version": lowest_ir({"": opset}), "onnxruntime": ONNXRUNTIMES[opset]}
    return FileInfo(
        replace(segmenter.info, size=size),
        choice.format,
        choice.precision,
        choice.output,
        choice.dynamic,
        (usual, usual, usual) if choice.dynamic == "none" else choice.batch,
        choice.fit,
        multiple,
        made | {"weights": weights, "zodi": __version__},
    )


def export_segmenter(
    segmenter: Segmenter,
    directory: Path,
    file: FileInfo,
    choice: SegmenterChoice,
    samples: Samples,
    calibration: Iterable[Images],
    *,
    notify: Notify = lambda message: None,
) -> dict[str, Any]:
    """Write the file and `report.json`, `report.md` beside it; returns the report.

    segmenter    on the CPU
    file         as `describe` made it
    samples      that PyTorch and the file are compared on, at the file's size
    calibration  images (H, W, 3) for int8, at the file's size

    A file that does not pass is not left behind: ModelError has the figures, and so have `refused.json` and
    `refused.md`. What was in the directory before stays then. Raises SettingsError, EngineError and OutputError too.
    """
    if file.format == "trt":  # what is missing shows before the work
        find_target(PlanChoice(choice.compute_capabilities), "auto")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{directory}: cannot be made ({error.strerror}): choose another -o") from None
    with tempfile.TemporaryDirectory(dir=directory, prefix=".making-") as name:
        scratch = Path(name)
        notify("computing the samples in PyTorch")
        reference = make_reference(segmenter, samples, file)
        notify("tracing")
        traced = scratch / "traced.onnx"
        trace(segmenter, traced, file, file.made["opset"])
        report: dict[str, Any] = {
            "file": FILES[file.format][0],
            "samples": samples.name,
            "max_drop_points": choice.max_drop,
            "metadata": file.to_json(),
            "versions": {name: metadata.version(name) for name in ("torch", "onnx", "onnxscript")},
        }
        if file.precision == "int8":
            graph, report["quantisation"], figures = quantised(traced, calibration, reference, file, choice, notify)
        else:
            graph = traced if file.precision == "fp32" else scratch / "half.onnx"
            if file.precision != "fp32":
                convert_precision(traced, graph, file.precision)
            figures = measure_graph(graph, reference, file)
        report["graph"], report["refusals"] = figures, refusals(figures, choice.max_drop)
        if not report["refusals"]:
            finished = scratch / FINISHED
            if (file.format, file.precision) == ("openvino", "bf16"):  # OpenVINO rounds an fp32 file to bf16 itself
                add_head(traced, finished, file, file.output)
            made = scratch / "made"
            made.mkdir()
            report |= _finish(finished, made, reference, file, choice, figures, notify)
        if report["refusals"]:
            write_report(directory, "refused", report)
            raise ModelError(
                f"{directory}: the {file.precision} {file.format} file is refused: {'; '.join(report['refusals'])}: "
                "see refused.md there, or allow more with --max-drop"
            )
        for part in FILES[file.format]:
            (made / part).replace(directory / part)
        for ending in ("json", "md"):
            (directory / f"refused.{ending}").unlink(missing_ok=True)
        write_report(directory, "report", report)
    return report


def measure_graph(graph: Path, reference: Reference, file: FileInfo) -> dict[str, Any]:
    """Figures of a graph with logits, run as ONNX on this machine's CPU.

    What was run stays beside the graph as `FINISHED`; where the format is "onnx" it is the file, metadata and all.
    """
    finished = graph.with_name(FINISHED)
    add_head(graph, finished, file, file.output)
    if file.format == "onnx":
        attach_metadata(finished, file)
    opened = open_graph(finished, file)
    logits = open_graph(graph, file)
    return measure(reference, opened.predict, logits.run_file, file)


def _finish(
    finished: Path,
    made: Path,
    reference: Reference,
    file: FileInfo,
    choice: SegmenterChoice,
    figures: dict[str, Any],
    notify: Notify,
) -> dict[str, Any]:
    """Make the file of a finished graph that passed, and measure it as users will run it: the rest of the report.

    figures  of the graph, which are an ONNX file's own
    """
    notify(f"writing {FILES[file.format][0]}")
    path = write_file(finished, made, file, choice.compute_capabilities)
    rest: dict[str, Any] = {
        "mib": sum((made / part).stat().st_size for part in FILES[file.format]) / 2**20,
        "sha256": {part: file_sha256(made / part) for part in FILES[file.format]},
        "refusals": [],
    }
    if file.format == "onnx" and file.precision == "bf16":
        return rest | {"figures": None, "not_run": "onnxruntime on the CPU has no bf16: the graph ran in fp32 instead"}
    try:
        opened = open_segmenter(path)
    except EngineError as error:
        return rest | {"figures": None, "not_run": str(error).replace(f"{made}/", "")}
    if file.format != "onnx":
        figures = measure(reference, opened.predict, opened.run_file if file.output == LOGITS else None, file)
    return rest | {"figures": figures, "not_run": None, "refusals": refusals(figures, choice.max_drop)}


def quantised(
    traced: Path,
    images: Iterable[Images],
    reference: Reference,
    file: FileInfo,
    choice: SegmenterChoice,
    notify: Notify,
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The int8 graph with the fewest layers kept in fp32 that passes, what was tried for it, and its figures.

    Layers are kept in the order of the harm that quantising each alone does. Where none passes it is the last tried.
    """
    batches = [np.repeat(image[None], file.batch[0], axis=0) for image in images]
    notify(f"calibrating on {len(batches)} images by {choice.calibration}")
    calibration = calibrate(traced, batches, choice.calibration)
    graph = traced.with_name("int8.onnx")
    layers = calibration.layers
    errors: dict[str, float] = {}
    tried = []
    for count in steps(len(layers)):
        if count == 1:
            errors = _rank(calibration, batches, notify)
        kept = list(errors)[:count]
        quantise(calibration, graph, keep=kept)
        figures = measure_graph(graph, reference, file)
        tried.append({"kept": count, **{k: figures[k] for k in ("pixel_agreement", "miou_file", "drop_points")}})
        notify(f"int8 but for {count} of {len(layers)} layers: {figures['drop_points']:.2f} points lost")
        if not refusals(figures, choice.max_drop):
            break
    search = {
        "method": choice.calibration,
        "images": len(batches),
        "layers": len(layers),
        "kept_in_fp32": kept,
        "tried": tried,
        "error_of_each_layer_alone": errors,
    }
    return graph, search, figures


def _rank(calibration: Calibration, batches: list[Images], notify: Notify) -> dict[str, float]:
    few = batches[:: max(1, len(batches) // RANKING_IMAGES)][:RANKING_IMAGES]

    def run(graph: Path, images: Images) -> Any:
        return np.concatenate([run_logits(graph, part) for part in np.split(images, len(few))])

    return rank_layers(calibration, run, np.concatenate(few), notify)
