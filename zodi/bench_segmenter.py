"""How fast a segmenter runs as each kind of file, beside eager and compiled PyTorch: same images, threads and work.

Everything is timed from uint8 pixels to ids of classes, on the CPU but for TensorRT. What is measured takes turns,
so that what else the machine does is spread over all of it.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zodi.bench_segmenter_files import Candidate, make_files
from zodi.bench_segmenter_peers import LAYOUTS, PEERS, open_compiled, open_eager, random_segmenter
from zodi.data import Dataset
from zodi.deploying import calibration_arrays, labelled, scenes
from zodi.engines.bundle import file_sha256
from zodi.engines.devices import cpu_threads
from zodi.engines.diagnosis import describe_machine
from zodi.engines.segmenters import Images
from zodi.errors import SettingsError
from zodi.export.acceptance import Reference, make_reference, measure
from zodi.export.segmenter import SegmenterChoice, describe
from zodi.segmenter.checkpoint import WEIGHTS, Segmenter, load_checkpoint
from zodi.segmenter.evaluate import check_classes
from zodi.segmenter.info import FORMATS, PRECISIONS, FileInfo

Notify = Callable[[str], None]

TURNS = 2  # how often each is opened and timed
USUAL_SIZE = (512, 1024)
WARM_UP = 2  # calls before the first that counts
SCENES = 4  # rendered to compare and calibrate on, where no data set is given


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
    if checkpoint is None:
        segmenter, weights = random_segmenter(choice.architecture, choice.encoder, choice.size or USUAL_SIZE), "random"
    else:
        segmenter, weights = load_checkpoint(checkpoint), file_sha256(checkpoint / WEIGHTS)
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
        files = make_files(
            segmenter, Path(name), file, choice.formats or FORMATS, choice.precisions or PRECISIONS, threads, reference,
            arrays, limit, notify,
        )  # fmt: skip
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


def _peers(segmenter: Segmenter, file: FileInfo) -> list[Candidate]:
    """PyTorch with both memory layouts, and compiled."""
    mib = sum(p.numel() * p.element_size() for p in segmenter.net.state_dict().values()) / 2**20
    found = [
        Candidate(name, "fp32", partial(open_eager, segmenter, file, layout), mib) for name, layout in LAYOUTS.items()
    ]
    return [*found, Candidate("torch-compile", "fp32", cache(partial(open_compiled, segmenter, file)), mib)]


def _time(
    candidate: Candidate,
    images: Images,
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


def _best_layout(candidates: list[Candidate]) -> list[Candidate]:
    """Of PyTorch's two layouts only the faster one, by the first batch."""
    both = [candidate for candidate in candidates if candidate.format in LAYOUTS]
    best = min(both, key=lambda candidate: float(np.median(next(iter(candidate.seconds.values())))))
    best.status, best.format = f"ok: {best.format.removeprefix('torch, ')} was faster", PEERS[0]
    return [best, *(candidate for candidate in candidates if candidate not in both)]


def _rows(candidate: Candidate, choice: SegmenterBenchChoice) -> list[dict[str, Any]]:
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
