"""Runtimes behind one seam: an engine runs the five graphs of `zodi.ports` on torch tensors."""

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from zodi.errors import EngineError

if TYPE_CHECKING:  # exported segmenters run where there is no PyTorch, see `zodi.engines.segmenters`
    import torch
    from torch import Tensor

ENGINES: dict[str, str] = {  # name -> module with `open_engine`
    "torch": "zodi.engines.torch",
    "ort": "zodi.engines.ort",
    "openvino": "zodi.engines.openvino",
    "trt": "zodi.engines.trt",
}
PACKAGES = {  # name -> import names, one of which the engine needs
    "torch": ("torch",),
    "ort": ("onnxruntime",),
    "openvino": ("openvino",),
    "trt": ("tensorrt", "tensorrt_rtx"),
}


class Engine(Protocol):
    """Runs graphs. Ports are float32 (token ids and time steps int64) at every precision; casts are inside.

    device     where inputs are expected and outputs are
    precision  the precision that is executed: "fp32", "bf16" or "fp16"
    """

    name: str
    precision: str
    device: "torch.device"

    def run(self, graph: str, inputs: "Mapping[str, Tensor]") -> "dict[str, Tensor]": ...


def open_engine(
    source: Any, name: str, *, precision: str = "fp32", device: str = "auto", threads: int | None = None
) -> AbstractContextManager[Engine]:
    """Open a runtime on a model; the returned context manager's lifetime is that of its memory.

    source     what the runtime runs: `Components` for "torch", a verified `Bundle` for the others
    name       a key of ENGINES
    precision  "fp32", "bf16" or "fp16"
    device     "cpu", "cuda", "cuda:N" or "auto" (the first GPU, else the CPU)
    threads    of the CPU; None: one for each CPU that this process may use

    Raises EngineError where the runtime, the device or the precision is not available.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}: allowed are {', '.join(ENGINES)}")
    opened: AbstractContextManager[Engine] = importlib.import_module(ENGINES[name]).open_engine(
        source, precision=precision, device=device, threads=threads
    )
    return opened


def file_precision(name: str, precision: str) -> str:
    """The precision that a bundle's files must have for an engine: OpenVINO rounds fp32 files itself."""
    return "fp32" if name == "openvino" else precision


def installed_engines() -> list[str]:
    """The engines whose runtime can be found, in the order of ENGINES."""
    return [name for name in ENGINES if any(importlib.util.find_spec(package) for package in PACKAGES[name])]
