"""The graphs of a bundle on ONNX Runtime: the CPU, or CUDA with bound buffers and CUDA graphs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zodi.engines.bundle import Bundle
from zodi.engines.devices import find_device
from zodi.engines.ort_session import open_session
from zodi.errors import EngineError
from zodi.ports import check_inputs, check_outputs, graphs

Shapes = Mapping[str, tuple[int, ...]]  # of the outputs
RunGraph = Callable[[Mapping[str, Tensor], Shapes], dict[str, Tensor]]


class OrtEngine:
    """ONNX Runtime sessions, one per graph; see `zodi.engines.Engine`."""

    name = "ort"

    def __init__(self, bundle: Bundle, precision: str, device: torch.device, threads: int | None) -> None:
        self.precision = precision
        self.device = device
        self._bundle = bundle
        self._table = graphs(bundle.info.dims)
        self._graphs: dict[str, RunGraph] = {}
        for name in self._table:
            if device.type == "cuda":
                from zodi.engines.ort_cuda import bind_graph

                self._graphs[name] = bind_graph(bundle.path(name), device, bundle.profile(name), self._table[name])
            else:
                self._graphs[name] = partial(run_on_cpu, open_session(bundle.path(name), threads=threads, fused=True))

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph; `inputs` and the result are tensors on `device` by port name."""
        table = self._table[graph]
        sizes = check_inputs(table, inputs)
        self._bundle.check_sizes(table, sizes)
        shapes = {port.name: port.shape(sizes) for port in table.outputs}
        outputs = self._graphs[graph](inputs, shapes)
        check_outputs(table, outputs, sizes)
        return outputs


def run_on_cpu(session: Any, inputs: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Run a session on CPU tensors, which are passed without a copy."""
    names = list(shapes)
    results = session.run(names, {name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
    return {name: torch.from_numpy(result) for name, result in zip(names, results, strict=True)}


@contextmanager
def open_engine(bundle: Bundle, *, precision: str, device: str, threads: int | None) -> Iterator[OrtEngine]:
    """See `zodi.engines.open_engine`. The precision is that of the bundle's files."""
    where = find_device(device)
    if where.type == "cpu" and precision != "fp32":
        raise EngineError(
            f"ONNX Runtime on the CPU computes {precision} files in fp32: use --precision fp32, "
            "--engine openvino for bf16, or a GPU"
        )
    if bundle.precision != precision:
        raise EngineError(
            f"{bundle.directory}: the files are {bundle.precision}, asked for is {precision}: use "
            f"--precision {bundle.precision}, or export a bundle with --precision {precision}"
        )
    yield OrtEngine(bundle, precision, where, threads)
