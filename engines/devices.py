"""Where engines run: devices by name, and how many CPU threads they may use."""

import os
from typing import TYPE_CHECKING

from zodi.errors import EngineError

if TYPE_CHECKING:
    import torch


def find_device(name: str) -> "torch.device":
    """The torch device for "auto", "cpu", "cuda" or "cuda:N"; EngineError where it is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"unknown device {name!r}: allowed are auto, cpu, cuda and cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise EngineError(f"device {name!r} is not supported: allowed are auto, cpu, cuda and cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"device {name!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def cpu_threads(threads: int | None = None) -> int:
    """The given number of threads, or one for each CPU that this process may use."""
    if threads is not None:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
