"""Supervised training of a segmenter on a labelled data set: from settings to a checkpoint directory."""

import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zodi import __version__
from zodi.data import Dataset, read_image
from zodi.engines.diagnosis import cpu_has_bf16
from zodi.errors import DataError, EngineError, SettingsError
from zodi.segmenter.checkpoint import DESCRIPTION, SegmenterInfo, palette_of, save_checkpoint
from zodi.segmenter.loading import SourceBatches
from zodi.segmenter.loop import Batch, Progress, fit
from zodi.segmenter.nets import as_segmenter, build_net
from zodi.segmenter.objective import Mean, cross_entropy
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.state import finish_state, open_state

DEVICES = ("auto", "cpu", "cuda")
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names


@dataclass(frozen=True)
class TrainResult:
    """output: the checkpoint directory; steps: done in all; seconds: of this call; finished: False if stopped."""

    output: Path
    steps: int
    seconds: float
    finished: bool


def train(
    dataset: Dataset,
    output: Path,
    settings: TrainSettings,
    *,
    device: str = "auto",
    workers: int = 2,
    save_every: int = 0,
    restart: bool = False,
    on_progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train on a data set and leave a checkpoint in `output`; a broken training goes on where its state was saved.

    device      "auto", "cpu" or "cuda"; under `accelerate launch` each process has its own GPU
    workers     threads that prepare images, in each process
    save_every  save the state also after every so many steps; 0: after each epoch
    restart     forget an earlier training in `output`
    stopped     asked after each step; True saves the state and ends

    Raises SettingsError, DataError, ModelError, EngineError and OutputError, each before the first step where it can.
    """
    start = time.perf_counter()
    settings = settings.resolved(_image_size(dataset))
    accelerator = make_accelerator(settings, device)
    _check_amounts(dataset, settings, accelerator.num_processes)
    if accelerator.is_main_process:
        open_state(output, describe(dataset, settings), restart=restart)
    accelerator.wait_for_everyone()
    steps = settings.iterations or (settings.epochs or 0) * (len(dataset.samples) // settings.batch)
    if (output / DESCRIPTION).is_file():
        return TrainResult(output, steps, time.perf_counter() - start, True)
    torch.manual_seed(settings.seed)
    built = build_net(
        settings.architecture,
        settings.encoder,
        dataset.label_set.num_classes,
        encoder_weights=settings.encoder_weights,
        options=settings.options,
    )
    assert settings.size is not None
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
    batches = SourceBatches(
        dataset,
        settings,
        info,
        workers=workers,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    try:
        weights = fit(
            built.net,
            source_loss,
            batches,
            settings,
            output,
            accelerator,
            save_every=save_every,
            on_progress=on_progress if accelerator.is_main_process else None,
            stopped=stopped,
        )
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SettingsError(
            f"{settings.architecture} cannot be trained on one image per process and step, its batch norm needs two: "
            "use a larger --batch"
        ) from None
    if weights is not None and accelerator.is_main_process:
        save_checkpoint(output, weights, info)
        finish_state(output)
    accelerator.wait_for_everyone()
    return TrainResult(output, steps, time.perf_counter() - start, weights is not None)


def source_loss(net: nn.Module, batch: Batch, mean: Mean) -> Batch:
    """Cross entropy on labelled images, {"loss": ()}; see `zodi.segmenter.loop.Loss`."""
    return {"loss": cross_entropy(net(batch["image"]), batch["label"], mean)}


def make_accelerator(settings: TrainSettings, device: str) -> Any:
    """accelerate's view of the processes and devices, checked: what was asked for is what will run.

    Raises EngineError for a device or precision that this machine cannot do.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if device not in DEVICES:
        raise EngineError(f"unknown device {device!r}: allowed are {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("no CUDA device is available: use --device cpu, or install a PyTorch that sees the GPU")
    # accelerate keeps the precision of the first training in a process and refuses another
    AcceleratorState._reset_state(reset_partial_state=False)
    accelerator = Accelerator(mixed_precision=MIXED[settings.precision], cpu=device == "cpu")
    where = accelerator.device.type
    if device != "auto" and where != device:
        raise EngineError(f"this process already trains on {where}, not on {device}: start a new one")
    if where == "cpu" and settings.precision == "fp16":
        raise EngineError("fp16 training needs a GPU: use --precision fp32 or bf16")
    if where == "cpu" and settings.precision == "bf16" and not cpu_has_bf16():
        raise EngineError("this CPU cannot compute in bf16 (it has neither avx512_bf16 nor AMX): use --precision fp32")
    return accelerator


def describe(dataset: Dataset, settings: TrainSettings) -> dict[str, Any]:
    """What train.json says of a training: settings and data decide the weights, versions are for the record."""
    files = "\n".join(f"{s.key} {_bytes(s.image)} {_bytes(s.label)}" for s in dataset.samples)
    names = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "accelerate", "pillow", "numpy")
    return {
        "settings": settings.described(),
        "data": {
            "label_set": dataset.label_set.name,
            "classes": list(dataset.label_set.names),
            "images": len(dataset.samples),
            "files_sha256": hashlib.sha256(files.encode()).hexdigest(),
        },
        "versions": {"zodi": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in names},
    }


def _bytes(path: Path | None) -> int:
    """The size of a file: a cheap sign of other content under the same name."""
    try:
        return path.stat().st_size if path is not None else 0
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None


def _image_size(dataset: Dataset) -> tuple[int, int]:
    if not dataset.samples:
        raise DataError(f"{dataset.root}: has no images: check --root, --split and --condition")
    height, width, _ = read_image(dataset.samples[0].image).shape
    return height, width


def _check_amounts(dataset: Dataset, settings: TrainSettings, processes: int) -> None:
    if len(dataset.samples) < settings.batch:
        raise SettingsError(
            f"{dataset.root}: {len(dataset.samples)} images are less than one batch of {settings.batch}: "
            "use a smaller --batch"
        )
    if settings.batch % processes:
        raise SettingsError(
            f"batch is {settings.batch}, which {processes} processes cannot share: use a multiple of {processes}"
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
