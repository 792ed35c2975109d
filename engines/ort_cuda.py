"""ONNX Runtime on CUDA: tensors are read and written where they are; where all shapes are fixed, as a CUDA graph."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zodi.engines.ort import RunGraph, Shapes
from zodi.engines.ort_session import open_session
from zodi.engines.profile import Profile
from zodi.ports import Graph

NUMPY_TYPES = {torch.int64: np.int64, torch.float32: np.float32}


def bind_graph(path: Path, device: torch.device, profile: Profile, graph: Graph) -> RunGraph:
    """A graph as a function of CUDA tensors.

    Where height and width are fixed, the batch is filled up to the largest one and the graph is captured once: the
    inversion pass, one call in about twenty, computes images for nothing, all other calls save their launches.
    """
    options = {"device_id": str(device.index or 0), "use_tf32": "0"}
    if any(low != high for symbol, (low, _, high) in profile.items() if symbol != "batch"):
        return partial(run_bound, open_session(path, "cuda", provider_options=options, fused=True))
    fixed = {symbol: high for symbol, (_, _, high) in profile.items()}
    options["enable_cuda_graph"] = "1"
    session = open_session(path, "cuda", provider_options=options, fixed=fixed, fused=True)
    return CapturedGraph(session, device, fixed, graph)


def run_bound(session: Any, inputs: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Run a session on CUDA tensors; all ports are float32 or int64."""
    kept = {name: tensor.contiguous() for name, tensor in inputs.items()}
    device = next(iter(kept.values())).device
    outputs = {name: torch.empty(shape, device=device) for name, shape in shapes.items()}
    binding = _bind(session, kept, outputs)
    torch.cuda.current_stream(device).synchronize()  # the session has a stream of its own
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return outputs


class CapturedGraph:
    """A session with fixed shapes and buffers; the first calls capture its CUDA graph, later ones replay it."""

    def __init__(self, session: Any, device: torch.device, fixed: Mapping[str, int], graph: Graph) -> None:
        self._session = session
        self._inputs = {
            port.name: torch.zeros(port.shape(fixed), dtype=getattr(torch, port.dtype), device=device)
            for port in graph.inputs
        }
        self._outputs = {port.name: torch.zeros(port.shape(fixed), device=device) for port in graph.outputs}
        self._binding = _bind(session, self._inputs, self._outputs)

    def __call__(self, inputs: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
        for name, tensor in inputs.items():
            _fill(self._inputs[name], tensor)
        torch.cuda.current_stream(next(iter(self._inputs.values())).device).synchronize()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return {name: self._outputs[name][: shape[0]].clone() for name, shape in shapes.items()}


def _fill(buffer: Tensor, tensor: Tensor) -> None:
    """Copy a tensor into a buffer that may hold more images; the last image fills the rest."""
    if tensor.ndim == 0:
        buffer.copy_(tensor)
        return
    buffer[: len(tensor)] = tensor
    buffer[len(tensor) :] = tensor[-1]


def _bind(session: Any, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Any:
    binding = session.io_binding()
    for bind, tensors in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, tensor in tensors.items():
            bind(
                name=name,
                device_type="cuda",
                device_id=tensor.device.index or 0,
                element_type=NUMPY_TYPES[tensor.dtype],
                shape=tuple(tensor.shape),
                buffer_ptr=tensor.data_ptr(),
            )
    return binding
