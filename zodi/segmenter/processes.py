"""The processes and devices of a training, by accelerate."""

from pathlib import Path
from typing import Any

import torch

from zodi.engines.devices import torch_has_bf16
from zodi.errors import EngineError, SettingsError
from zodi.segmenter.settings import TrainSettings

DEVICES = ("auto", "cpu", "cuda")
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names


def make_accelerator(
    settings: TrainSettings, device: str, tracker: str | None = None, directory: Path | None = None
) -> Any:
    """accelerate's view of the processes and devices, checked: what was asked for is what will run.

    Raises EngineError for a device or precision that this machine cannot do, SettingsError for an unknown tracker.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if device not in DEVICES:
        raise EngineError(f"unknown device {device!r}: allowed are {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("no CUDA device is available: use --device cpu, or install a PyTorch that sees the GPU")
    found = [str(name) for name in get_available_trackers()]
    if tracker is not None and tracker not in found:
        known = tracker in LOGGER_TYPE_TO_CLASS
        package = tracker.replace("_", "-") if known else "tensorboard"  # that of comet_ml has a hyphen
        others = "" if known else f", or another of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}"
        raise SettingsError(
            f"tracker {tracker!r} is not installed{'' if known else ' or unknown'}: "
            f"installed are {', '.join(found) or 'none'}: pip install {package}{others}"
        )
    # accelerate keeps the precision of the first training in a process and refuses another
    AcceleratorState._reset_state(reset_partial_state=False)
    # each process keeps its own batch norm statistics and the first one's are saved; handing them round in every
    # forward pass would come between the two passes of a pair
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    accelerator = Accelerator(
        mixed_precision=MIXED[settings.precision],
        cpu=device == "cpu",
        kwargs_handlers=[*handlers],
        log_with=tracker,
        project_dir=directory,
    )
    where = accelerator.device.type
    if device != "auto" and where != device:
        raise EngineError(f"this process already trains on {where}, not on {device}: start a new one")
    if where == "cpu" and settings.precision == "fp16":
        raise EngineError("fp16 training needs a GPU: use --precision fp32 or bf16")
    if where == "cpu" and settings.precision == "bf16" and not torch_has_bf16():
        raise EngineError("PyTorch does not compute in bf16 on this CPU, see `zodi doctor`: use --precision fp32")
    return accelerator
