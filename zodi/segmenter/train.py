"""Supervised training of a segmenter on a labelled data set: from settings to a checkpoint directory."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zodi.data import Dataset
from zodi.errors import SettingsError
from zodi.segmenter.checkpoint import (
    SegmenterInfo,
    save_checkpoint,
)
from zodi.segmenter.checks import all_void, check_pairs, check_trainable, labels_of
from zodi.segmenter.class_balance import balance_classes
from zodi.segmenter.failures import Failures
from zodi.segmenter.first_net import check_net, first_net
from zodi.segmenter.loading import SourceBatches
from zodi.segmenter.loop import Batch, Batches, Loss, Progress, fit
from zodi.segmenter.norm_statistics import STEPS, take_norm_statistics
from zodi.segmenter.objective import OF_PARTS, Supervised, Whole, cross_entropy
from zodi.segmenter.place import Place, check_init, find_place
from zodi.segmenter.processes import make_accelerator
from zodi.segmenter.record import describe, image_size
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.state import finish_state, logged_steps
from zodi.segmenter.task import Task


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    output    where its files are: the checkpoint directory; of a restarted training that is not finished a folder in it
    steps     done in all
    seconds   of this call
    finished  False if stopped
    main      False in all processes but one, which alone writes files and tells of them
    skipped   steps that changed nothing, as all labels of their batch were void
    failures  one line for each image or label that could not be used, as far as this process met them
    """

    output: Path
    steps: int
    seconds: float
    finished: bool
    main: bool
    skipped: int = 0
    failures: tuple[str, ...] = ()


def train(
    dataset: Dataset,
    output: Path,
    settings: TrainSettings,
    *,
    task: Task | None = None,
    init: Path | None = None,
    device: str = "auto",
    workers: int = 2,
    cache: Path | None = None,
    save_every: int = 0,
    restart: bool = False,
    allow_changed_files: bool = False,
    failures: Failures | None = None,
    tracker: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train on a data set and leave a checkpoint in `output`; a broken training goes on where its state was saved.

    task        None: the data set's own images alone; its batches get `workers` and `cache` themselves
    init        checkpoint whose weights are the first ones, of the same net and classes; or a file of a state dict of
                the same net, see `zodi.segmenter.weight_files`
    device      "auto", "cpu" or "cuda"; under `accelerate launch` each process has its own GPU
    workers     threads that prepare images, in each process
    cache       folder for decoded images, which later trainings share; None: memory
    save_every  save the state also after every so many steps; 0: after each epoch
    restart     begin again beside a training in `output`, which stays until the new one takes its place
    allow_changed_files  resume although files of the data have another size than before
    failures    images and labels that cannot be used; None: the first is an error
    tracker     of accelerate that is told every logged step, e.g. "tensorboard"; its files are in `output`
    notify      told what the user should know before the first step
    stopped     asked after each step; True saves the state and ends

    Raises SettingsError, DataError, ModelError, EngineError and OutputError, each before the first step where it can.
    """
    start = time.perf_counter()
    settings = settings.resolved(image_size(dataset))
    failures = failures or Failures()  # where nobody is told, nothing is left out
    task = task or source_task(dataset, settings, failures, workers=workers, cache=cache)
    if init is not None:
        check_init(init, output)
    described = describe(dataset, settings, init)
    described["settings"] |= task.described
    described["files"] |= task.files
    # every process looks before any can have begun to write: they meet where the accelerator is made
    place = find_place(output, described, restart=restart, allow_changed_files=allow_changed_files)
    accelerator = make_accelerator(settings, device, tracker, output)
    parts = accelerator.num_processes * settings.accumulate
    _check_amounts(dataset.root, len(task.samples), settings, accelerator.num_processes)
    steps = settings.iterations or (settings.epochs or 0) * (len(task.samples) // settings.batch)
    if settings.warmup >= max(steps, 1):
        raise SettingsError(f"warmup is {settings.warmup} steps, the training has {steps}: use fewer, or train longer")
    main = accelerator.is_main_process
    tell = notify if main else lambda message: None
    finished = place.finished
    if not finished:
        task.check()
        net, info = first_net(dataset, settings, init)
        unused = check_net(
            net,
            info,
            settings,
            task.make_loss(cross_entropy),
            share=settings.batch // accelerator.num_processes // settings.accumulate,
            validates=task.validation is not None,
            notify=tell,
        )
        split = [name for name in settings.loss_terms if name in OF_PARTS]
        if split and parts > 1:
            tell(f"{' and '.join(split)}: taken of each of the {parts} parts of a step, not of the whole batch")
        supervised, rare = balance_classes(dataset, task.samples, settings, info, failures, workers, tell)
        share = {"process": accelerator.process_index, "processes": accelerator.num_processes}
        batches = task.batches(info, **share, rare=rare)
        if main:
            place.begin(described)
        accelerator.wait_for_everyone()
        if tracker is not None:
            accelerator.init_trackers("zodi")
        finished = _learn(
            net,
            info,
            batches,
            task.make_loss(supervised),
            task,
            settings,
            place,
            accelerator,
            unused=unused,
            save_every=save_every,
            on_progress=on_progress if main else None,
            stopped=stopped,
        )
    skipped = 0
    if finished and main:
        finish_state(place.directory)
        place.take_over()
        logged = logged_steps(output)
        skipped = steps - logged if logged else 0
    accelerator.wait_for_everyone()
    accelerator.end_training()  # ends the group of processes too
    where = output if finished else place.directory
    seconds = time.perf_counter() - start
    return TrainResult(where, steps, seconds, finished, main, skipped, tuple(failures.messages))


def source_task(
    dataset: Dataset, settings: TrainSettings, failures: Failures, *, workers: int, cache: Path | None
) -> Task:
    """The images of a data set alone. The settings must be resolved."""

    def check() -> None:
        check_pairs(dataset, dataset.samples, failures, workers, settings.batch)
        labels = labels_of(dataset, dataset.samples, failures, settings.size)
        check_trainable(dataset.label_set, labels, str(dataset.root), failures)

    make = partial(SourceBatches, dataset, settings, workers=workers, cache=cache, failures=failures)
    return Task(make, lambda supervised: partial(source_loss, supervised=supervised), dataset.samples, check)


def _learn(
    net: nn.Module,
    info: SegmenterInfo,
    batches: Batches,
    loss: Loss,
    task: Task,
    settings: TrainSettings,
    place: Place,
    accelerator: Any,
    **options: Any,
) -> bool:
    """Train and write the checkpoint, in the place's own directory; False where it was stopped before."""
    validation = None if task.validation is None else task.validation(place.directory)
    main = accelerator.is_main_process

    def finished(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        if task.statistics is None:
            return weights
        with closing(iter(batches(0, 0))) as first_epoch:  # type: ignore[type-var]
            images = (batch[task.statistics] for batch in islice(first_epoch, STEPS))
            return take_norm_statistics(weights, info, images, accelerator.device, settings.seed)

    weights = fit(
        net,
        loss,
        batches,
        settings,
        place.directory,
        accelerator,
        on_epoch=None if validation is None else lambda step, kept: validation(step, finished(kept), info),
        on_saved=place.drop_others if main else lambda: None,
        **options,
    )
    if weights is not None and main:
        if logged_steps(place.directory) == 0:
            raise all_void(f"{place.directory}: every crop of every step")
        weights = finished(weights)
        save_checkpoint(place.directory, weights if validation is None else validation.finish(weights, info), info)
    return weights is not None


def source_loss(net: nn.Module, batch: Batch, whole: Whole, supervised: Supervised = cross_entropy) -> Batch:
    """The loss on labelled images, {"loss": ()}; see `zodi.segmenter.loop.Loss`."""
    return {"loss": supervised(net(batch["image"]), batch["label"], whole.valid["label"])}


def _check_amounts(root: Path, images: int, settings: TrainSettings, processes: int) -> None:
    if images < settings.batch:
        raise SettingsError(
            f"{root}: {images} images are less than one batch of {settings.batch}: use a smaller --batch"
        )
    parts = processes * settings.accumulate
    if settings.batch % parts:
        raise SettingsError(
            f"batch is {settings.batch}, which {processes} processes in {settings.accumulate} parts cannot share: "
            f"use a --batch that is a multiple of {parts}, or another --accumulate"
        )
