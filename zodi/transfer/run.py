"""A run over a data set: read ahead, transfer in batches, write behind, record every image; resumable at any point."""

import hashlib
import io
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zodi.data import Dataset, Sample
from zodi.errors import DataError
from zodi.files import write_atomic
from zodi.model import ModelInfo
from zodi.transfer.images import Planes, Rgb, decoded_image
from zodi.transfer.items import Item, Job, load_item, map_ahead, result_path
from zodi.transfer.manifest import Manifest, Row
from zodi.transfer.pipeline import Run, encode_images, image_seed, transfer_encoded
from zodi.transfer.settings import TransferSettings


@dataclass
class Progress:
    """Counts of results (images times domains) so far, and what went wrong."""

    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Transfer:
    """What all batches of a run share: the engine as a callable, and the settings."""

    run: Run
    info: ModelInfo
    device: torch.device
    settings: TransferSettings
    output: Path


def transfer_dataset(
    transfer: Transfer,
    dataset: Dataset,
    samples: Sequence[Sample],
    jobs: Sequence[Job],
    *,
    manifest: Manifest,
    rows: Mapping[tuple[str, str], Row],
    max_failures: int,
    workers: int,
    stopped: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Transfer what `rows` does not show as done; each result is written, then recorded in the manifest.

    max_failures  more failed results than this end the run
    workers       threads that read ahead, and as many that write
    stopped       asked before each batch; True ends the run after the images in flight
    on_progress   called after every change of the counts

    Raises DataError above max_failures, OutputError where nothing can be written; what is done stays recorded.
    """
    settings = transfer.settings
    by_domain = {job.domain: job for job in jobs}
    progress = Progress(total=len(samples) * len(jobs))
    writing: deque[Future[Row]] = deque()

    def record(row: Row) -> None:
        manifest.append(row)
        if row.status == "ok":
            progress.done += 1
        else:
            progress.failed += 1
            progress.failures.append(f"{row.domain}/{row.key}: {row.error}")
        on_progress(progress)

    def record_written(keep: int) -> None:
        while len(writing) > keep:
            record(writing.popleft().result())
        if progress.failed > max_failures:
            raise DataError(
                f"{progress.failed} results failed, allowed are {max_failures} (--max-failures): "
                f"the last was {progress.failures[-1]}"
            )

    def load(sample: Sample) -> Item | DataError | None:
        return load_item(
            dataset, sample, jobs, output=transfer.output, rows=rows, info=transfer.info, settings=settings
        )

    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:

        def work(batch: Sequence[Item]) -> None:
            writing.extend(transfer_batch(transfer, batch, [by_domain[name] for name in batch[0].pending], writers))
            record_written(keep=2 * settings.batch * len(jobs))

        # images of one size that lack the same domains go together
        batches: dict[tuple[object, ...], list[Item]] = {}
        loaded_items = map_ahead(readers, load, samples, ahead=2 * settings.batch)
        try:
            for sample, loaded in zip(samples, loaded_items, strict=True):
                if stopped():
                    break
                if isinstance(loaded, DataError):
                    for job in jobs:
                        record(_failed(sample, job, settings, str(loaded)))
                    record_written(keep=len(writing))
                    continue
                progress.skipped += len(jobs) - (len(loaded.pending) if loaded else 0)
                on_progress(progress)
                if loaded is not None:
                    kind = (loaded.image.shape, loaded.pending)
                    batches.setdefault(kind, []).append(loaded)
                    if len(batches[kind]) == settings.batch:
                        work(batches.pop(kind))
            for batch in batches.values():
                if not stopped():
                    work(batch)
        finally:
            while writing:
                record(writing.popleft().result())
    record_written(keep=0)
    return progress


def transfer_batch(
    transfer: Transfer, batch: Sequence[Item], jobs: Sequence[Job], writers: ThreadPoolExecutor
) -> list[Future[Row]]:
    """Encode a batch once and transfer it to each domain; the results are written by `writers`.

    A short batch is filled up with its last image: at a fixed batch size a result does not depend on its neighbours.
    """
    settings = transfer.settings
    start = time.perf_counter()
    filled = [*batch, *[batch[-1]] * (settings.batch - len(batch))]
    encoded = encode_images(
        transfer.run,
        torch.from_numpy(np.stack([item.image for item in filled])).to(transfer.device),
        torch.from_numpy(np.stack([item.layout for item in filled])).to(transfer.device),
    )
    rows: list[Future[Row]] = []
    for job in jobs:
        seeds = [image_seed(settings.seed, job.domain, item.sample.key) for item in filled]
        decoded = transfer_encoded(
            transfer.run, transfer.info, encoded, job.cond, job.uncond, seeds, job.sampling
        ).cpu()
        seconds = (time.perf_counter() - start) / len(batch)
        start = time.perf_counter()
        for item, seed, planes in zip(batch, seeds, decoded.numpy(), strict=False):
            rows.append(writers.submit(write_result, transfer, item, job, seed, planes, seconds))
    return rows


def write_result(transfer: Transfer, item: Item, job: Job, seed: int, planes: Planes, seconds: float) -> Row:
    """Write one decoded image (3, h, w) and return its row; an image that cannot be right is a failed row instead."""
    if not np.isfinite(planes).all():
        return _failed(item.sample, job, transfer.settings, "the result is not finite: try --precision fp32")
    image = decoded_image(planes, transfer.settings.pixels)
    if (image == image[0, 0]).all():
        return _failed(item.sample, job, transfer.settings, "the result is one flat colour: try --precision fp32")
    content = encode_png(image)
    write_atomic(result_path(transfer.output, job.domain, item.sample.key), content, sync=False)
    return Row(
        domain=job.domain,
        key=item.sample.key,
        status="ok",
        settings=job.settings,
        seed=seed,
        source_sha256=item.source_sha256,
        label_sha256=item.label_sha256,
        sha256=hashlib.sha256(content).hexdigest(),
        seconds=round(seconds, 4),
    )


def encode_png(image: Rgb) -> bytes:
    """An image (H, W, 3) as PNG, at the fast compression level."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _failed(sample: Sample, job: Job, settings: TransferSettings, error: str) -> Row:
    seed = image_seed(settings.seed, job.domain, sample.key)
    return Row(job.domain, sample.key, "failed", job.settings, seed, error=error)
