"""What this installation and this machine can do, what conflicts, and what to install for what is missing."""

import importlib
import os
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

from zodi import __version__, telemetry
from zodi.engines.devices import torch_has_bf16
from zodi.engines.openvino_model import cpu_precisions, open_core
from zodi.engines.trt_product import capabilities
from zodi.errors import EngineError

PACKAGES = (
    "torch", "torchvision", "diffusers", "transformers", "accelerate", "onnx", "onnxscript",
    "segmentation-models-pytorch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13", "ray",
)  # fmt: skip

INSTALL = {  # import name -> what to do where it is missing
    "onnxruntime": "ONNX Runtime on the CPU: pip install 'zodi[cpu]'; on NVIDIA GPUs: pip install 'zodi[gpu]'",
    "openvino": "OpenVINO, the fastest engine on recent Intel and AMD CPUs: pip install 'zodi[cpu]'",
    "tensorrt": "TensorRT for data-centre and desktop GPUs: pip install 'zodi[gpu]'",
    "tensorrt_rtx": "TensorRT for RTX: pip install 'zodi[rtx]'",
    "ray": "Ray, for runs on many machines: pip install 'zodi[ray]'",
}


def diagnose() -> dict[str, Any]:
    """A JSON object with the keys zodi, python, platform, packages, cpu, gpus, engines, conflicts, missing.

    packages   installed version or None, by distribution name
    cpu        name, cores, whether it has vector instructions for "avx2", "avx512" and "int8", and whether an engine
               that is installed executes "bf16" on it
    gpus       name, memory in GiB and compute capability of each CUDA device
    engines    by import name: version, and its execution providers or devices, the precisions that it executes on the
               CPU, or the error on importing it
    conflicts  installations that break each other, one line each; empty is good
    missing    what could be installed, one line each
    """
    packages = {name: _version(name) for name in PACKAGES}
    engines = {
        "torch": _torch(),
        "onnxruntime": _probe(
            "onnxruntime", lambda m: {"providers": m.get_available_providers(), "cpu_precisions": ["fp32"]}
        ),
        "openvino": _probe(
            "openvino",
            lambda m: {"devices": open_core().available_devices, "cpu_precisions": list(cpu_precisions())},
            telemetry.import_openvino,
        ),
        "tensorrt": _probe("tensorrt", lambda m: {}),
        "tensorrt_rtx": _probe("tensorrt_rtx", lambda m: {"builds_for": list(capabilities(m))}),
        "ray": _probe("ray", lambda m: {}),
    }
    return {
        "zodi": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "cpu": _cpu(),
        "gpus": _gpus(),
        "engines": engines,
        "conflicts": _conflicts({name.lower() for name in _distributions()}),
        "missing": [INSTALL[name] for name, state in engines.items() if "error" in state and name in INSTALL],
    }


def cpu_flags() -> set[str]:
    """The instruction sets that the kernel reports, lower case; empty where it reports none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="ignore") as file:  # noqa: PTH123
            line = next((line for line in file if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        return set()
    return set(line.lower().split())


def _cpu() -> dict[str, Any]:
    flags = cpu_flags()
    return {
        "name": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "avx2": "avx2" in flags,
        "avx512": "avx512f" in flags,
        "bf16": _has_bf16(),
        "int8": bool({"avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp"} & flags),
    }


def _has_bf16() -> bool:
    try:
        return torch_has_bf16() or "bf16" in cpu_precisions()
    except EngineError:  # without OpenVINO
        return False


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="ignore") as file:  # noqa: PTH123
            line = next((line for line in file if line.startswith("model name")), "")
    except OSError:
        line = ""
    return line.partition(":")[2].strip() or platform.processor() or platform.machine()


def _gpus() -> list[dict[str, Any]]:
    import torch

    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        {
            "name": device.name,
            "memory_gib": round(device.total_memory / 2**30, 1),
            "compute_capability": f"{device.major}.{device.minor}",
        }
        for device in devices
    ]


def _torch() -> dict[str, Any]:
    return _probe(
        "torch",
        lambda m: {
            "devices": ["cpu", *(f"cuda:{i}" for i in range(m.cuda.device_count()))],
            "cuda": m.version.cuda,
            "cpu_precisions": ["fp32", *(["bf16"] if torch_has_bf16() else [])],
        },
    )


def _probe(name: str, more: Any, load: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Import a runtime for real: a package that is installed may still lack a library that it needs."""
    try:
        module = load() if load is not None else importlib.import_module(name)
        return {"version": getattr(module, "__version__", None), **more(module)}
    except Exception as error:  # a broken installation raises anything; the report is where it should be seen
        lines = str(error).splitlines() or [type(error).__name__]
        return {"error": lines[0]}


def _conflicts(distributions: set[str]) -> list[str]:
    found = []
    if {"onnxruntime", "onnxruntime-gpu"} <= distributions:
        found.append(
            "onnxruntime and onnxruntime-gpu are both installed and share one import name: "
            "pip uninstall both, then install zodi[cpu] or zodi[gpu]"
        )
    by_cuda = {
        cuda: sorted(name for name in distributions if name.endswith(f"-cu{cuda}") or f"-cu{cuda}-" in name)
        for cuda in (12, 13)
    }
    if by_cuda[12] and by_cuda[13]:
        found.append(
            f"packages for CUDA 12 ({by_cuda[12][0]}, ...) and CUDA 13 ({by_cuda[13][0]}, ...) are both installed: "
            "keep those that torch was built for and uninstall the others"
        )
    return found


def _distributions() -> list[str]:
    return [name for d in metadata.distributions() if (name := d.metadata["Name"])]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def describe_machine() -> dict[str, Any]:
    """What figures were measured on: platform, CPU, GPUs, and versions of the packages that are installed."""
    versions = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return {"platform": platform.platform(), "cpu": _cpu(), "gpus": _gpus(), "versions": versions}
