"""Supervised training of a segmenter on a labelled data set: from settings to a checkpoint directory."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zodi.data import Dataset
from zodi.errors import ModelError, SettingsError
from zodi.segmenter.checkpoint import (
    DESCRIPTION,
    SegmenterInfo,
    load_checkpoint,
    palette_of,
    save_checkpoint,
)
from zodi.segmenter.images import InputForm
from zodi.segmenter.loading import SourceBatches
from zodi.segmenter.loop import Batch, Batches, Loss, Progress, fit
from zodi.segmenter.nets import as_segmenter, build_net
from zodi.segmenter.norm_statistics import STEPS, take_norm_statistics
from zodi.segmenter.objective import Whole, cross_entropy
from zodi.segmenter.processes import make_accelerator
from zodi.segmenter.record import describe, image_size
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.state import finish_state, open_state


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    output    the checkpoint directory
    steps     done in all
    seconds   of this call
    finished  False if stopped
    main      False in all processes but one, which alone writes files and tells of them
    """

    output: Path
    steps: int
    seconds: float
    finished: bool
    main: bool


class MakeBatches(Protocol):
    """Batches for a net that takes images of a form, for one of several processes."""

    def __call__(self, form: InputForm, *, process: int, processes: int) -> Batches: ...


class Validation(Protocol):
    """What is told of the weights that would be kept, in the main process."""

    def __call__(self, step: int, weights: dict[str, Tensor], info: SegmenterInfo) -> None:
        """After an epoch, and after the last step; the same step may come twice."""

    def finish(self, last: dict[str, Tensor], info: SegmenterInfo) -> dict[str, Tensor]:
        """The weights of the checkpoint."""
        ...


@dataclass(frozen=True)
class Task:
    """What a training minimises on which batches.

    images      of an epoch: there are images // batch steps
    described   what decides the weights besides settings and source data, for train.json
    validation  looks at the weights after each epoch and at the end chooses those to keep
    statistics  name of the images in a batch that the kept weights' batch norm statistics are of; None: of all, as they
                came in training, the last ones most
    """

    batches: MakeBatches
    loss: Loss
    images: int
    described: Mapping[str, Any] = field(default_factory=dict)
    validation: Validation | None = None
    statistics: str | None = None


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
    tracker: str | None = None,
    on_progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train on a data set and leave a checkpoint in `output`; a broken training goes on where its state was saved.

    task        None: cross entropy on the data set's own images; its batches get `workers` and `cache` themselves
    init        checkpoint whose weights are the first ones; it must be of the same net and classes
    device      "auto", "cpu" or "cuda"; under `accelerate launch` each process has its own GPU
    workers     threads that prepare images, in each process
    cache       folder for decoded images, which later trainings share; None: memory
    save_every  save the state also after every so many steps; 0: after each epoch
    restart     forget an earlier training in `output`
    tracker     of accelerate that is told every logged step, e.g. "tensorboard"; its files are in `output`
    stopped     asked after each step; True saves the state and ends

    Raises SettingsError, DataError, ModelError, EngineError and OutputError, each before the first step where it can.
    """
    start = time.perf_counter()
    settings = settings.resolved(image_size(dataset))
    task = task or Task(
        partial(SourceBatches, dataset, settings, workers=workers, cache=cache), source_loss, len(dataset.samples)
    )
    accelerator = make_accelerator(settings, device, tracker, output)
    _check_amounts(dataset.root, task.images, settings, accelerator.num_processes)
    main = accelerator.is_main_process
    if main:
        described = describe(dataset, settings, init)
        open_state(output, {**described, "settings": described["settings"] | task.described}, restart=restart)
    accelerator.wait_for_everyone()
    steps = settings.iterations or (settings.epochs or 0) * (task.images // settings.batch)
    if (output / DESCRIPTION).is_file():
        accelerator.end_training()
        return TrainResult(output, steps, time.perf_counter() - start, True, main)
    net, info = first_net(dataset, settings, init)
    if tracker is not None:
        accelerator.init_trackers("zodi")
    validation = task.validation
    batches = task.batches(info, process=accelerator.process_index, processes=accelerator.num_processes)

    def finished(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        if task.statistics is None:
            return weights
        with closing(iter(batches(0, 0))) as first_epoch:  # type: ignore[type-var]
            images = (batch[task.statistics] for batch in islice(first_epoch, STEPS))
            return take_norm_statistics(weights, info, images, accelerator.device, settings.seed)

    try:
        weights = fit(
            net,
            task.loss,
            batches,
            settings,
            output,
            accelerator,
            save_every=save_every,
            on_progress=on_progress if main else None,
            on_epoch=None if validation is None else lambda step, kept: validation(step, finished(kept), info),
            stopped=stopped,
        )
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SettingsError(
            f"{settings.architecture} cannot be trained on one image per process and step, its batch norm needs two: "
            "use a larger --batch"
        ) from None
    if weights is not None and main:
        weights = finished(weights)
        save_checkpoint(output, weights if validation is None else validation.finish(weights, info), info)
        finish_state(output)
    accelerator.wait_for_everyone()
    accelerator.end_training()  # ends the group of processes too
    return TrainResult(output, steps, time.perf_counter() - start, weights is not None, main)


def first_net(dataset: Dataset, settings: TrainSettings, init: Path | None) -> tuple[nn.Module, SegmenterInfo]:
    """The net with its first weights, and what its checkpoint will say. Raises ModelError and SettingsError."""
    assert settings.size is not None
    torch.manual_seed(settings.seed)
    built = build_net(
        settings.architecture,
        settings.encoder,
        dataset.label_set.num_classes,
        encoder_weights=settings.encoder_weights if init is None else "none",
        options=settings.options,
    )
    info = SegmenterInfo(
        architecture=settings.architecture,
        encoder=settings.encoder,
        options=dict(settings.options),
        classes=dataset.label_set.names,
        palette=palette_of(dataset.label_set),
        mean=built.mean,
        std=built.std,
        size=settings.size,
    )
    _check_multiple(settings, built.net)
    if init is not None:
        before = load_checkpoint(init)
        if before.info.classes != info.classes:
            raise ModelError(
                f"{init}: has other classes than label set {dataset.label_set.name!r}: choose another --init"
            )
        built.net.load_state_dict(before.net.state_dict())
        info = replace(info, mean=before.info.mean, std=before.info.std)
    return built.net, info


def source_loss(net: nn.Module, batch: Batch, whole: Whole) -> Batch:
    """Cross entropy on labelled images, {"loss": ()}; see `zodi.segmenter.loop.Loss`."""
    return {"loss": cross_entropy(net(batch["image"]), batch["label"], whole.valid["label"])}


def _check_amounts(root: Path, images: int, settings: TrainSettings, processes: int) -> None:
    if images < settings.batch:
        raise SettingsError(
            f"{root}: {images} images are less than one batch of {settings.batch}: use a smaller --batch"
        )
    parts = processes * settings.accumulate
    if settings.batch % parts:
        raise SettingsError(
            f"batch is {settings.batch}, which {processes} processes in {settings.accumulate} parts cannot share: "
            f"use a multiple of {parts}"
        )


def _check_multiple(settings: TrainSettings, net: nn.Module) -> None:
    multiple = as_segmenter(net).multiple
    assert settings.crop is not None
    height, width = settings.crop
    if height % multiple or width % multiple:
        raise SettingsError(
            f"the crop {height}x{width} does not fit {settings.architecture} on {settings.encoder}: "
            f"use multiples of {multiple}"
        )
