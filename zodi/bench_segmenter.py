"""How fast a segmenter runs as each kind of file, beside eager and compiled PyTorch: same images, threads and work.

Everything is timed from uint8 pixels to ids of classes. What is measured takes turns, so that what else the machine
does is spread over all of it.
"""

import copy
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zodi.data import Dataset
from zodi.deploying import calibration_arrays, labelled, scenes
from zodi.engines.bundle import file_sha256
from zodi.engines.devices import cpu_threads
from zodi.engines.diagnosis import describe_machine
from zodi.engines.segmenters import DeployedSegmenter, open_segmenter
from zodi.errors import EngineError, ModelError, SettingsError
from zodi.export.acceptance import Reference, make_reference, measure, refusals
from zodi.export.half import convert_precision
from zodi.export.segmenter import SegmenterChoice, describe, quantised
from zodi.export.segmenter_files import FILES, write_file
from zodi.export.segmenter_onnx import FromPixels, add_head, trace
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import WEIGHTS, Segmenter, load_checkpoint
from zodi.segmenter.evaluate import check_classes
from zodi.segmenter.info import FORMATS, PRECISIONS, FileInfo, SegmenterInfo, palette_of
from zodi.segmenter.nets import build_net
from zodi.town import render

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Notify = Callable[[str], None]

PEERS = ("torch", "torch-compile")
LAYOUTS = {"torch, contiguous": torch.contiguous_format, "torch, channels_last": torch.channels_last}
TURNS = 2  # how often each is opened and timed
WARM_UP = 2  # calls before the first that counts
SCENES = 4  # rendered to compare and calibrate on, where no data set is given
STATISTICS = (64, 128)  # size of the scenes that random weights take their batch norm from
NO_BF16 = "onnxruntime on the CPU has no convolution in bf16"
IN_FP32 = "ok: this runtime computes it in fp32 on a CPU"


@dataclass(frozen=True)
class SegmenterBenchChoice:
    """What is measured.

    formats, precisions    empty: all there are
    architecture, encoder  of the net with random weights, where no checkpoint is given
    size      (height, width)
    batches   numbers of images per call
    rounds    calls that are timed, of each file and batch
    samples   images of the data set that agreement and mIoU are measured on
    max_drop  points of mIoU above which a file counts as refused; only where a data set is given
    """

    formats: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    architecture: str = "deeplabv3plus"
    encoder: str = "resnet50"
    size: tuple[int, int] | None = None
    batches: tuple[int, ...] = (1,)
    rounds: int = 20
    threads: int | None = None
    samples: int = 20
    max_drop: float = 0.5


@dataclass
class _Candidate:
    """What is timed: a peer or a file, how to open it, and what is known of it."""

    format: str
    precision: str
    open: Callable[[], Callable[[Pixels], Any]]
    size_mib: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    status: str = "ok"
    seconds: dict[int, list[float]] = field(default_factory=dict)


def bench_segmenter(
    checkpoint: Path | None = None,
    choice: SegmenterBenchChoice | None = None,
    *,
    dataset: Dataset | None = None,
    calibrate: Sequence[str] = (),
    notify: Notify = lambda message: None,
) -> dict[str, Any]:
    """Measure; returns {"machine", "settings", "rows"}, a row for each format, precision and batch.

    checkpoint  None: random weights with batch norm statistics of rendered scenes; their mIoU says nothing and is None
    calibrate   as for `export_segmenter`; empty: the images that are compared on

    A row: "ms_p50" and "ms_p95" of a call with a whole batch, "images_per_s" at the median, "size_mib" of the file,
    "miou" and "pixel_agreement" (with PyTorch) 0..1, and "status": "ok", "refused: ..." or "not runnable here: ...",
    with the reason. "torch" is the faster of the two memory layouts, which its status names.
    """
    choice = choice or SegmenterBenchChoice()
    if choice.rounds < TURNS or min(choice.batches, default=0) < 1:
        raise SettingsError(f"rounds must be {TURNS} or more and batches 1 or more")
    threads = cpu_threads(choice.threads)
    torch.set_num_threads(threads)
    segmenter = random_segmenter(choice) if checkpoint is None else load_checkpoint(checkpoint)
    weights = "random" if checkpoint is None else file_sha256(checkpoint / WEIGHTS)
    batch = (1, 1, max(choice.batches))
    file = describe(segmenter, SegmenterChoice(size=choice.size, batch=batch), weights)
    if dataset is not None:
        check_classes(segmenter, dataset)
    samples = scenes(file, SCENES) if dataset is None else labelled(dataset, file, choice.samples)
    if checkpoint is None:
        samples = replace(samples, labels=None)
    arrays = list(calibration_arrays(calibrate, file, 128)) if calibrate else list(samples.images)
    with tempfile.TemporaryDirectory(prefix="zodi-bench-") as name:
        notify("computing the samples in PyTorch")
        reference = make_reference(segmenter, samples, file)
        limit = choice.max_drop if dataset is not None else float("inf")
        files = _make_files(segmenter, Path(name), file, choice, reference, arrays, limit, notify)
        candidates = [*_peers(segmenter, file), *files]
        images = np.stack([samples.images[i % len(samples.images)] for i in range(max(choice.batches))])
        for _ in range(TURNS):
            for candidate in candidates:
                _time(candidate, images, choice, reference, file, notify)
    settings = {
        "architecture": segmenter.info.architecture,
        "encoder": segmenter.info.encoder,
        "weights": weights,
        "height": file.model.size[0],
        "width": file.model.size[1],
        "rounds": choice.rounds,
        "threads": threads,
        "samples": samples.name,
    }
    rows = [row for candidate in _best_layout(candidates) for row in _rows(candidate, choice)]
    return {"machine": describe_machine(), "settings": settings, "rows": rows}


def random_segmenter(choice: SegmenterBenchChoice) -> Segmenter:
    """A net with random weights whose batch norm has seen scenes, else its activations would grow without bound."""
    torch.manual_seed(0)
    built = build_net(choice.architecture, choice.encoder, CITYSCAPES_19.num_classes)
    info = SegmenterInfo(
        choice.architecture, choice.encoder, {}, CITYSCAPES_19.names, palette_of(CITYSCAPES_19), built.mean, built.std,
        choice.size or (512, 1024),
    )  # fmt: skip
    segmenter = Segmenter(built.net, info)
    pixels = np.stack([render(i, "clear", STATISTICS)[0] for i in range(SCENES)])
    module = FromPixels(segmenter)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # a plain mean
    with torch.no_grad():
        module.train()(torch.from_numpy(pixels))
    built.net.eval()
    return segmenter


def _make_files(
    segmenter: Segmenter,
    directory: Path,
    file: FileInfo,
    choice: SegmenterBenchChoice,
    reference: Reference,
    arrays: list[Pixels],
    max_drop: float,
    notify: Notify,
) -> list[_Candidate]:
    """One candidate for each format and precision: its file is made, opened once and compared with PyTorch."""
    traced = directory / "traced.onnx"
    notify("tracing")
    trace(segmenter, traced, file, file.made["opset"])
    threads = cpu_threads(choice.threads)

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
    for name in choice.formats or FORMATS:
        for precision in choice.precisions or PRECISIONS:
            described = replace(file, format=name, precision=precision)
            place = directory / f"{name}-{precision}"
            place.mkdir()
            notify(f"{name} {precision}")
            candidate = _Candidate(name, precision, partial(_open_file, place / FILES[name][0], threads))
            _make_file(candidate, graph, place, described, reference, max_drop, threads)
            found.append(candidate)
    return found


def _make_file(
    candidate: _Candidate,
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
        opened = open_segmenter(path, device="auto", threads=threads)
    except (EngineError, ModelError) as error:
        candidate.status = f"not runnable here: {str(error).replace(f'{place}/', '')}"
        return
    candidate.figures = measure(reference, opened.predict, None, file)
    reasons = refusals(candidate.figures, max_drop)
    if reasons:
        candidate.status = f"refused: {'; '.join(reasons)}"
    elif file.precision == "fp16" and file.format != "trt":
        candidate.status = IN_FP32


def _peers(segmenter: Segmenter, file: FileInfo) -> list[_Candidate]:
    """PyTorch with both memory layouts, and compiled."""
    mib = sum(p.numel() * p.element_size() for p in segmenter.net.state_dict().values()) / 2**20
    found = [
        _Candidate(name, "fp32", partial(_open_torch, segmenter, file, layout), mib) for name, layout in LAYOUTS.items()
    ]
    return [*found, _Candidate("torch-compile", "fp32", cache(partial(_compile, segmenter, file)), mib)]


class _Labels(torch.nn.Module):
    """What a file computes: from pixels (B, H, W, 3) to ids (B, H, W), uint8."""

    def __init__(self, segmenter: Segmenter, layout: torch.memory_format) -> None:
        super().__init__()
        self.inner = copy.deepcopy(FromPixels(segmenter)).eval().to(memory_format=layout)  # type: ignore[call-overload]
        self.layout = layout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        planes = self.inner.normalised(images).contiguous(memory_format=self.layout)
        logits: torch.Tensor = self.inner.net(planes)[:, : self.inner.classes]
        return logits.argmax(dim=1).to(torch.uint8)


def _open_torch(segmenter: Segmenter, file: FileInfo, layout: torch.memory_format) -> Callable[[Pixels], Any]:
    return DeployedSegmenter(Path("torch"), file, partial(_run_torch, _Labels(segmenter, layout))).predict


def _compile(segmenter: Segmenter, file: FileInfo) -> Callable[[Pixels], Any]:
    compiled = torch.compile(_Labels(segmenter, torch.contiguous_format), dynamic=False)
    return DeployedSegmenter(Path("torch-compile"), file, partial(_run_torch, compiled)).predict


@torch.no_grad()
def _run_torch(module: Any, images: Pixels) -> Any:
    return module(torch.tensor(images)).numpy()


def _open_file(path: Path, threads: int) -> Callable[[Pixels], Any]:
    return open_segmenter(path, device="auto", threads=threads).predict


def _time(
    candidate: _Candidate,
    images: Pixels,
    choice: SegmenterBenchChoice,
    reference: Reference,
    file: FileInfo,
    notify: Notify,
) -> None:
    """Add this turn's seconds per call, by batch; of a peer, in the first turn, also its figures."""
    if candidate.status.startswith("not runnable"):
        return
    notify(f"timing {candidate.format} {candidate.precision}")
    run = candidate.open()
    for batch in choice.batches:
        try:
            for _ in range(WARM_UP):
                run(images[:batch])
        except Exception as error:  # the compiler raises whatever is missing for it
            if candidate.format != PEERS[1]:
                raise
            candidate.status = f"not runnable here: {' '.join(str(error).split())[:200]}"
            return
        candidate.figures = candidate.figures or measure(reference, run, None, file)
        times = candidate.seconds.setdefault(batch, [])
        for _ in range(choice.rounds // TURNS):
            start = time.perf_counter()
            run(images[:batch])
            times.append(time.perf_counter() - start)
    del run
    gc.collect()


def _best_layout(candidates: list[_Candidate]) -> list[_Candidate]:
    """Of PyTorch's two layouts only the faster one, by the first batch."""
    both = [candidate for candidate in candidates if candidate.format in LAYOUTS]
    best = min(both, key=lambda candidate: float(np.median(next(iter(candidate.seconds.values())))))
    best.status, best.format = f"ok: {best.format.removeprefix('torch, ')} was faster", PEERS[0]
    return [best, *(candidate for candidate in candidates if candidate not in both)]


def _rows(candidate: _Candidate, choice: SegmenterBenchChoice) -> list[dict[str, Any]]:
    rows = []
    for batch in choice.batches:
        times = candidate.seconds.get(batch)
        p50, p95 = (float(np.percentile(times, q)) for q in (50, 95)) if times else (None, None)
        rows.append(
            {
                "format": candidate.format,
                "precision": candidate.precision,
                "batch": batch,
                "ms_p50": None if p50 is None else 1e3 * p50,
                "ms_p95": None if p95 is None else 1e3 * p95,
                "images_per_s": None if p50 is None else batch / p50,
                "size_mib": candidate.size_mib,
                "miou": candidate.figures.get("miou_file"),
                "pixel_agreement": candidate.figures.get("pixel_agreement"),
                "status": candidate.status,
            }
        )
    return rows
