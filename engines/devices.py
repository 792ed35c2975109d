"""Where engines run: devices by name, how many CPU threads they may use, and how much memory is free."""

import os
import timeit
from pathlib import Path
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


def torch_has_bf16() -> bool:
    """Whether PyTorch computes bf16 on this CPU by oneDNN, by instructions for it or emulated.

    It is what PyTorch itself asks before it hands a convolution over; its own kernels for bf16 are slower than fp32.
    """
    import torch

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def bf16_is_faster() -> bool:
    """Whether PyTorch convolves faster in bf16 than in fp32 on this CPU, by timing; emulated bf16 is slower."""
    import torch

    def seconds(dtype: torch.dtype) -> float:
        net = torch.nn.Conv2d(64, 64, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.zeros(1, 64, 64, 128, dtype=dtype).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return min(timeit.repeat(lambda: net(images), number=1, repeat=20))

    return torch_has_bf16() and seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def free_memory() -> float:
    """Bytes that programs may still take; infinite where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return float(found["MemAvailable"].split()[0]) * 1024
