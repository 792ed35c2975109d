"""Items in batches of one size through the engine and the judge; full memory and bad draws are dealt with here."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zodi.errors import EngineError, SizeError
from zodi.labels import Ids, LabelSet
from zodi.model import ModelInfo
from zodi.transfer.images import Planes, decoded_image
from zodi.transfer.items import Item, Job
from zodi.transfer.pipeline import Run, encode_images, image_seed, transfer_encoded
from zodi.transfer.quality import Judge, layout_scores
from zodi.transfer.results import Result
from zodi.transfer.settings import TransferSettings


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


class Batches:
    """Items that wait for others of their size that lack the same domains; a batch that is full is transferred.

    Full memory halves the batch from then on. Results whose layout agreement is too low wait again, to be drawn anew.
    """

    def __init__(self, transfer: Transfer, jobs: Sequence[Job]) -> None:
        self._transfer = transfer
        self._jobs = {job.domain: job for job in jobs}
        self._size = transfer.settings.batch
        self._waiting: dict[tuple[object, ...], list[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, item: Item) -> Iterator[Result]:
        """The results of the batch that this item fills, if it does.

        Raises EngineError where one image alone does not fit into memory.
        """
        kind = (item.image.shape, item.pending)
        self._waiting.setdefault(kind, []).append(item)
        if len(self._waiting[kind]) >= self._size:
            yield from self._work(self._waiting.pop(kind))

    def flush(self) -> Iterator[Result]:
        """The results of the batch that has waited longest, though it is not full; new ones may wait afterwards."""
        yield from self._work(self._waiting.pop(next(iter(self._waiting))))

    def _work(self, batch: Sequence[Item]) -> Iterator[Result]:
        size, log, settings = self._size, self._transfer.log, self._transfer.settings
        if len(batch) > size:  # full memory has halved it meanwhile
            for start in range(0, len(batch), size):
                yield from self._work(batch[start : start + size])
            return
        jobs = [self._jobs[name] for name in batch[0].pending]
        results = self._repaint(batch, jobs)
        if results is None:  # tried again outside the handler of the error, which keeps what filled the memory alive
            if size == 1:
                raise EngineError("out of memory at batch 1: use a smaller --image-size or --precision")
            self._size = (size + 1) // 2
            log("out of memory", batch=self._size)
            yield from self._work(batch)
            return
        for result in results:
            item, domain, again = result.item, result.target.domain, result.item.attempt + 1
            if result.problem is None and result.too_low(settings) and again < settings.tries:
                log("draw again", domain=domain, key=item.sample.key, attempt=again)
                yield from self.add(replace(item, pending=(domain,), attempt=again))
            else:
                yield result

    def _repaint(self, batch: Sequence[Item], jobs: Sequence[Job]) -> list[Result] | None:
        """The results of a batch, failures where the engine is not made for their size; None where memory is full."""
        transfer, asked = self._transfer, self._transfer.settings.batch
        try:
            return list(repaint(transfer, batch, jobs, self._size))
        except SizeError as error:
            if self._size < asked:
                raise EngineError(f"out of memory at batch {asked}, and no smaller one can be tried: {error}") from None
            return [
                Result(item, job.target, image_seed_of(item, job, transfer.settings), item.image, failure=str(error))
                for job in jobs
                for item in batch
            ]
        except Exception as error:  # each runtime has its own class for a full memory; the rest goes on up
            if not is_out_of_memory(error):
                raise
            return None


def repaint(transfer: Transfer, batch: Sequence[Item], jobs: Sequence[Job], batch_size: int) -> Iterator[Result]:
    """Encode a batch once, transfer it to each domain, and have the results judged.

    A short batch is filled up with its last image: at a fixed batch size a result does not depend on its neighbours.
    """
    start = time.perf_counter()
    note = None if batch_size == transfer.settings.batch else f"batch {batch_size}"
    for job, planes in _decode(transfer, transfer.run, batch, jobs, batch_size):
        results = [
            Result(item, job.target, image_seed_of(item, job, transfer.settings), decoded, note=note)
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
    known = isinstance(error, (RuntimeError, OSError)) or type(error).__module__.startswith("onnxruntime")
    return known and any(word in str(error).lower() for word in words)


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
