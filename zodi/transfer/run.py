"""A run over a data set: read ahead, transfer in batches, write behind, record every image; resumable at any point."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample
from zodi.errors import DataError, EngineError
from zodi.labels import Ids, LabelSet
from zodi.model import ModelInfo
from zodi.transfer.images import Planes, decoded_image
from zodi.transfer.items import Item, Job, load_item
from zodi.transfer.manifest import Manifest, Row
from zodi.transfer.pipeline import Run, encode_images, image_seed, transfer_encoded
from zodi.transfer.quality import Judge, layout_scores
from zodi.transfer.results import Result, failed_row, write_result
from zodi.transfer.settings import TransferSettings


@dataclass
class Progress:
    """Counts of results (images times domains) so far, and what went wrong."""

    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    quarantined: int = 0
    failures: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def rate(self) -> float:
        """Results per second since the start, the skipped ones not counted."""
        return (self.done + self.quarantined) / max(time.perf_counter() - self.started, 1e-9)

    @property
    def finished(self) -> int:
        """Results that nothing more will be done for in this run."""
        return self.done + self.skipped + self.failed + self.quarantined


@dataclass(frozen=True)
class Transfer:
    """What all batches of a run share.

    run         the engine
    exact       opens the same model in fp32, for results that half precision spoilt; None: there is none
    judge       scores the layout of results, see `zodi.transfer.quality`
    log         called with an event's name and its fields
    """

    run: Run
    info: ModelInfo
    device: torch.device
    settings: TransferSettings
    output: Path
    label_set: LabelSet
    exact: Callable[[], Run] | None = None
    judge: Judge | None = None
    log: Callable[..., None] = lambda event, **fields: None


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

    Raises DataError above max_failures, OutputError where nothing can be written, EngineError where one image alone
    does not fit into memory; what is done stays recorded.
    """
    settings = transfer.settings
    by_domain = {job.domain: job for job in jobs}
    progress = Progress(total=len(samples) * len(jobs))
    writing: deque[Future[Row]] = deque()
    batch_size = settings.batch

    def record(row: Row) -> None:
        manifest.append(row)
        setattr(progress, COUNTER[row.status], getattr(progress, COUNTER[row.status]) + 1)
        if row.status == "failed":
            progress.failures.append(f"{row.domain}/{row.key}: {row.error}")
            transfer.log("failed", domain=row.domain, key=row.key, error=row.error)
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

    loading = map_ahead(load, samples, workers, ahead=2 * settings.batch)
    with closing(loading) as loaded_items, ThreadPoolExecutor(workers) as writers:
        # images of one size that lack the same domains go together
        batches: dict[tuple[object, ...], list[Item]] = {}

        def add(item: Item) -> None:
            kind = (item.image.shape, item.pending)
            batches.setdefault(kind, []).append(item)
            if len(batches[kind]) >= batch_size:
                work(batches.pop(kind))

        def work(batch: Sequence[Item]) -> None:
            nonlocal batch_size
            size = batch_size
            if len(batch) > size:  # full memory has halved it meanwhile
                for start in range(0, len(batch), size):
                    work(batch[start : start + size])
                return
            batch_jobs = [by_domain[name] for name in batch[0].pending]
            try:
                results = list(repaint(transfer, batch, batch_jobs, batch_size))
            except Exception as error:  # each runtime has its own class for a full memory; the rest goes on up
                if not is_out_of_memory(error):
                    raise
                if batch_size == 1:
                    raise EngineError("out of memory at batch 1: use a smaller --image-size or --precision") from None
                batch_size = (batch_size + 1) // 2
                transfer.log("out of memory", batch=batch_size)
                work(batch)
                return
            for result in results:
                if result.problem is None and result.too_low(settings) and result.item.attempt + 1 < settings.tries:
                    again = result.item.attempt + 1
                    transfer.log("draw again", domain=result.job.domain, key=result.item.sample.key, attempt=again)
                    add(replace(result.item, pending=(result.job.domain,), attempt=again))
                else:
                    writing.append(writers.submit(write_result, result, settings, transfer.label_set, transfer.output))
            record_written(keep=2 * settings.batch * len(jobs))

        try:
            for sample, loaded in zip(samples, loaded_items, strict=True):
                if stopped():
                    break
                if isinstance(loaded, DataError):
                    for job in jobs:
                        record(failed_row(sample, job, settings, str(loaded)))
                    record_written(keep=len(writing))
                    continue
                progress.skipped += len(jobs) - (len(loaded.pending) if loaded else 0)
                on_progress(progress)
                if loaded is not None:
                    add(loaded)
            while batches and not stopped():  # drawing again may fill new ones
                work(batches.pop(next(iter(batches))))
        finally:
            while writing:
                record(writing.popleft().result())
    record_written(keep=0)
    return progress


COUNTER = {"ok": "done", "failed": "failed", "quarantined": "quarantined"}


def repaint(transfer: Transfer, batch: Sequence[Item], jobs: Sequence[Job], batch_size: int) -> Iterator[Result]:
    """Encode a batch once, transfer it to each domain, and have the results judged.

    A short batch is filled up with its last image: at a fixed batch size a result does not depend on its neighbours.
    """
    start = time.perf_counter()
    note = None if batch_size == transfer.settings.batch else f"batch {batch_size}"
    for job, planes in _decode(transfer, transfer.run, batch, jobs, batch_size):
        results = [
            Result(item, job, image_seed_of(item, job, transfer.settings), decoded, note=note)
            for item, decoded in zip(batch, planes, strict=True)
        ]
        spoilt = [i for i, result in enumerate(results) if result.problem is not None]
        if spoilt and transfer.exact is not None:
            transfer.log("again in fp32", domain=job.domain, keys=[batch[i].sample.key for i in spoilt])
            again = [batch[i] for i in spoilt]
            ((_, exact),) = _decode(transfer, transfer.exact(), again, [job], batch_size)
            for i, decoded in zip(spoilt, exact, strict=True):
                results[i] = replace(results[i], planes=decoded, note="fp32")
        if transfer.judge is not None:
            results = judge_results(transfer.judge, results, transfer, batch_size)
        seconds, start = (time.perf_counter() - start) / len(batch), time.perf_counter()
        yield from (replace(result, seconds=seconds) for result in results)


def image_seed_of(item: Item, job: Job, settings: TransferSettings) -> int:
    """The seed of an item's noise for a domain."""
    return image_seed(settings.seed, job.domain, item.sample.key, item.attempt)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime says that memory is full: by PyTorch's and Python's own classes, or in the words of others."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("out of memory", "failed to allocate memory", "bad_alloc", "can't allocate memory")
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error).lower() for word in words)


def _decode(
    transfer: Transfer, run: Run, batch: Sequence[Item], jobs: Sequence[Job], batch_size: int
) -> Iterator[tuple[Job, Planes]]:
    """For each job the decoded images of the batch, (B, 3, h, w)."""
    filled = [*batch, *[batch[-1]] * (batch_size - len(batch))]
    encoded = encode_images(
        run,
        torch.from_numpy(np.stack([item.image for item in filled])).to(transfer.device),
        torch.from_numpy(np.stack([item.layout for item in filled])).to(transfer.device),
    )
    for job in jobs:
        seeds = [image_seed_of(item, job, transfer.settings) for item in filled]
        decoded = transfer_encoded(run, transfer.info, encoded, job.cond, job.uncond, seeds, job.sampling)
        yield job, decoded[: len(batch)].cpu().numpy()


def judge_results(judge: Judge, results: Sequence[Result], transfer: Transfer, batch_size: int) -> list[Result]:
    """The results with the judge's verdict on each; where the judge fails they are failures that say so."""
    sources = np.stack([decoded_image(result.item.image, "rounded") for result in results])
    images = np.stack([decoded_image(result.planes, transfer.settings.pixels) for result in results])
    try:
        on_source, _ = _ask(judge, sources, batch_size)
        on_result, confidence = _ask(judge, images, batch_size)
    except Exception as error:  # a judge is anybody's net: what it raises must not end a run that nobody watches
        if is_out_of_memory(error):
            raise
        transfer.log("judge failed", error=repr(error))
        return [replace(result, failure=f"the judge failed: {error!r}") for result in results]
    names = transfer.label_set.names
    return [
        replace(result, verdict=layout_scores(before, after, result.item.label, names), judged=after, confidence=sure)
        for result, before, after, sure in zip(results, on_source, on_result, confidence, strict=True)
    ]


def _ask(judge: Judge, images: NDArray[np.uint8], batch_size: int) -> tuple[Ids, NDArray[np.float32]]:
    """The judge at the run's batch size too, for the same reason as the engine."""
    short = max(batch_size - len(images), 0)
    ids, confidence = judge(np.concatenate([images, np.repeat(images[-1:], short, axis=0)]))
    return ids[: len(images)], confidence[: len(images)]
