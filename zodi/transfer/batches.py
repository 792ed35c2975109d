"""Items in batches of one size through the engine and the judge; full memory and bad draws are dealt with here."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zodi.errors import SizeError
from zodi.labels import Ids, LabelSet
from zodi.memory import is_out_of_memory
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

    Full memory halves the batch from then on, for images of that size and larger ones; what does not fit alone is a
    failure, and changes nothing for the others. Results whose layout agreement is too low wait again, to be drawn anew.

    made       whether any image has gone through the engine
    too_large  pixels of the smallest image that did not fit alone, and what was said of it; None: all did
    """

    def __init__(self, transfer: Transfer, jobs: Sequence[Job]) -> None:
        self.made = False
        self.too_large: tuple[int, str] | None = None
        self._transfer = transfer
        self._jobs = {job.domain: job for job in jobs}
        self._limits: dict[int, int] = {}  # images per batch that memory holds, for images of at least so many pixels
        self._waiting: dict[tuple[object, ...], list[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, item: Item) -> Iterator[Result]:
        """The results of the batch that this item fills, if it does."""
        kind = (item.image.shape, item.pending)
        self._waiting.setdefault(kind, []).append(item)
        if len(self._waiting[kind]) >= self._size(item):
            yield from self._work(self._waiting.pop(kind))

    def flush(self) -> Iterator[Result]:
        """The results of the batch that has waited longest, though it is not full; new ones may wait afterwards."""
        yield from self._work(self._waiting.pop(next(iter(self._waiting))))

    def _size(self, item: Item) -> int:
        limits = [size for least, size in self._limits.items() if least <= item.pixels]
        return min([self._transfer.settings.batch, *limits])

    def _work(self, waiting: list[Item]) -> Iterator[Result]:
        log, settings = self._transfer.log, self._transfer.settings
        jobs = [self._jobs[name] for name in waiting[0].pending]
        while waiting:
            size = self._size(waiting[0])
            results = self._repaint(waiting[:size], jobs, size)
            if results is None:  # tried again outside the handler of the error, which keeps what filled memory alive
                self._limits[waiting[0].pixels] = (size + 1) // 2
                log("out of memory", batch=(size + 1) // 2, image=str(waiting[0].sample.image))
                continue
            waiting = waiting[size:]
            for result in results:
                item, domain, again = result.item, result.target.domain, result.item.attempt + 1
                if result.problem is None and result.too_low(settings) and again < settings.tries:
                    log("draw again", domain=domain, key=item.sample.key, attempt=again)
                    yield from self.add(replace(item, pending=(domain,), attempt=again))
                else:
                    yield result

    def _repaint(self, batch: Sequence[Item], jobs: Sequence[Job], size: int) -> list[Result] | None:
        """The results of a batch, failures where it cannot be made; None where a smaller batch may fit into memory."""
        transfer, asked = self._transfer, self._transfer.settings.batch
        try:
            results = list(repaint(transfer, batch, jobs, size))
            self.made = True
            return results
        except SizeError as error:
            full, failure = size < asked, str(error)
            if full:
                failure = f"out of memory at batch {asked}, and no smaller one can be tried: {error}"
        except Exception as error:  # each runtime has its own class for a full memory; the rest goes on up
            if not is_out_of_memory(error):
                raise
            if size > 1:
                return None
            full, failure = True, "out of memory at batch 1: use a smaller --image-size or --precision"
        if full:
            item = batch[0]
            height, width = item.layout.shape[1:]
            failure = f"{item.sample.image}, {height}x{width} at the working size: {failure}"
            self._limits.pop(item.pixels, None)  # the next image of this size may well fit
            if self.too_large is None or item.pixels < self.too_large[0]:
                self.too_large = item.pixels, failure
        return [
            Result(item, job.target, image_seed_of(item, job, transfer.settings), item.image, failure=failure)
            for job in jobs
            for item in batch
        ]


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
