"""The files that a benchmark of a segmenter times: made from one graph, compared with PyTorch, or why they are not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from zodi.bench_segmenter_peers import Predict
from zodi.engines.segmenters import Images, open_segmenter
from zodi.errors import EngineError, ModelError
from zodi.export.acceptance import Reference, measure, refusals
from zodi.export.half import convert_precision
from zodi.export.segmenter import SegmenterChoice, quantised
from zodi.export.segmenter_files import FILES, write_file
from zodi.export.segmenter_onnx import add_head, trace
from zodi.segmenter.checkpoint import Segmenter
from zodi.segmenter.info import FileInfo

Notify = Callable[[str], None]

NO_BF16 = "onnxruntime on the CPU has no convolution in bf16"
IN_FP32 = "ok: this runtime computes it in fp32 on a CPU"


@dataclass
class Candidate:
    """What is timed: a peer or a file, how to open it, and what is known of it."""

    format: str
    precision: str
    open: Callable[[], Predict]
    size_mib: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    status: str = "ok"
    seconds: dict[int, list[float]] = field(default_factory=dict)


def make_files(
    segmenter: Segmenter,
    directory: Path,
    file: FileInfo,
    formats: Sequence[str],
    precisions: Sequence[str],
    threads: int,
    reference: Reference,
    arrays: list[Images],
    max_drop: float,
    notify: Notify,
) -> list[Candidate]:
    """One candidate for each format and precision: its file is made, opened once and compared with PyTorch."""
    traced = directory / "traced.onnx"
    notify("tracing")
    trace(segmenter, traced, file, file.made["opset"])

    @cache
    def graph(precision: str) -> Path:
        if precision == "fp32":
            return traced
        if precision == "int8":
            loose = replace(reference, floor=None)  # what rounding to fp32 explains says nothing of int8
            limit = SegmenterChoice(max_drop=max_drop)
            return quantised(traced, arrays, loose, replace(file, precision="int8"), limit, notify)[0]
        convert_precision(traced, directory / f"{precision}.onnx", precision)
        return directory / f"{precision}.onnx"

    found = []
    for name in formats:
        for precision in precisions:
            described = replace(file, format=name, precision=precision)
            place = directory / f"{name}-{precision}"
            place.mkdir()
            notify(f"{name} {precision}")
            candidate = Candidate(name, precision, partial(_open_file, place / FILES[name][0], threads))
            _make_file(candidate, graph, place, described, reference, max_drop, threads)
            found.append(candidate)
    return found


def _make_file(
    candidate: Candidate,
    graph: Callable[[str], Path],
    place: Path,
    file: FileInfo,
    reference: Reference,
    max_drop: float,
    threads: int,
) -> None:
    """Make the file and fill in size, figures and status."""
    try:
        if file.format == "trt" and not torch.cuda.is_available():
            raise EngineError("TensorRT runs on an NVIDIA GPU, and there is none")
        if (file.format, file.precision) == ("onnx", "bf16"):
            raise EngineError(NO_BF16)
        openvino_bf16 = (file.format, file.precision) == ("openvino", "bf16")
        finished = place / "finished.onnx"
        add_head(graph("fp32" if openvino_bf16 else file.precision), finished, file, file.output)
        path = write_file(finished, place, file)
        candidate.size_mib = sum((place / part).stat().st_size for part in FILES[file.format]) / 2**20
        opened = open_segmenter(path, device=_device(path), threads=threads)
    except (EngineError, ModelError) as error:
        candidate.status = f"not runnable here: {str(error).replace(f'{place}/', '')}"
        return
    candidate.figures = measure(reference, opened.predict, None, file)
    reasons = refusals(candidate.figures, max_drop)
    if reasons:
        candidate.status = f"refused: {'; '.join(reasons)}"
    elif file.precision == "fp16" and file.format != "trt":
        candidate.status = IN_FP32


def _open_file(path: Path, threads: int) -> Predict:
    return open_segmenter(path, device=_device(path), threads=threads).predict


def _device(path: Path) -> str:
    """The CPU, as PyTorch is timed there, but for what only runs on a GPU."""
    return "auto" if path.name == FILES["trt"][0] else "cpu"
