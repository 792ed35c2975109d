"""The graphs of `zodi.ports` in eager PyTorch, on the CPU or a CUDA device."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from zodi.engines.components import Components
from zodi.engines.devices import find_device, torch_has_bf16
from zodi.engines.graphs import build_graphs
from zodi.errors import EngineError
from zodi.ports import check_inputs, check_outputs, graphs

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """Eager PyTorch; see `zodi.engines.Engine`."""

    name = "torch"

    def __init__(self, components: Components, precision: str, device: torch.device) -> None:
        self.precision = precision
        self.device = device
        self._table = graphs(components.info.dims)
        self._modules = build_graphs(components)
        for graph, module in self._modules.items():
            # half-precision decoders overflow to black images; bf16 has the range
            dtype = torch.float32 if graph == "vae_decoder" and precision == "fp16" else PRECISIONS[precision]
            # channels_last is the faster layout of convolutions on CPUs and on tensor cores alike
            module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph; `inputs` and the result are tensors on `device` by port name."""
        table, module = self._table[graph], self._modules[graph]
        sizes = check_inputs(table, inputs)
        dtype = next(module.parameters()).dtype
        arguments = [inputs[p.name].to(dtype if p.dtype == "float32" else torch.int64) for p in table.inputs]
        results = module(*arguments)
        outputs = {p.name: r.float().contiguous() for p, r in zip(table.outputs, results, strict=True)}
        check_outputs(table, outputs, sizes)
        return outputs


@contextmanager
def open_engine(
    components: Components, *, precision: str, device: str, threads: int | None = None
) -> Iterator[TorchEngine]:
    """See `zodi.engines.open_engine`. The components belong to the engine from then on: their weights are cast.

    The number of threads is the whole process's; without one it stays as it is.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}: allowed are {', '.join(PRECISIONS)}")
    where = find_device(device)
    if where.type == "cpu" and precision == "fp16":
        raise EngineError("fp16 on the CPU is slower than fp32 and rounds more: use --precision fp32 or bf16, or a GPU")
    if where.type == "cpu" and precision == "bf16" and not torch_has_bf16():
        raise EngineError("PyTorch does not compute in bf16 on this CPU, see `zodi doctor`: use --precision fp32")
    if threads is not None:
        torch.set_num_threads(threads)
    yield TorchEngine(components, precision, where)
