"""TensorRT plans on torch's CUDA tensors. Built, not run: there was no machine with a GPU; see docs/gpu.md."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from zodi.engines.bundle import Bundle
from zodi.engines.trt_product import open_log, require, runtime_settings
from zodi.ports import check_inputs, check_outputs, graphs

KEPT = 16  # graphs at certain sizes; a run at one batch size has up to seven: two of the denoiser and text encoder
Launch = Callable[[], Any]


class TrtEngine:
    """Deserialised plans, one per graph; see `zodi.engines.Engine`. Their files have been checked."""

    name = "trt"

    def __init__(self, product: Any, bundle: Bundle, prepare: Callable[[Launch, Any], Launch], device: Any) -> None:
        self.precision, self.device = bundle.precision, device
        self._product, self._bundle, self._prepare = product, bundle, prepare
        self._table, self._log = graphs(bundle.info.dims), open_log(product)
        read = product.Runtime(self._log).deserialize_cuda_engine
        self._plans = {g: require(read(bundle.plan_path(g).read_bytes()), f"load {g}", self._log) for g in self._table}
        # graphs run one after the other on one stream: all may use the same memory
        most = max(plan.device_memory_size_v2 for plan in self._plans.values())
        self._memory = torch.empty(most, dtype=torch.uint8, device=device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._at_sizes = lru_cache(KEPT)(self._bind)

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph; `inputs` and the result are tensors on `device` by port name."""
        table = self._table[graph]
        sizes = check_inputs(table, inputs)
        self._bundle.check_sizes(table, sizes)
        buffers, launch = self._at_sizes(graph, **sizes)
        caller = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            for name, tensor in inputs.items():
                buffers[name].copy_(tensor)
            launch()
            outputs = {port.name: buffers[port.name].clone() for port in table.outputs}
        caller.wait_stream(self._stream)
        for tensor in outputs.values():
            tensor.record_stream(caller)
        check_outputs(table, outputs, sizes)
        return outputs

    def describe(self, graph: str) -> str:
        """The layers of a plan with the types that they compute in, as TensorRT's inspector tells them, JSON."""
        inspector = self._plans[graph].create_engine_inspector()
        return str(inspector.get_engine_information(self._product.LayerInformationFormat.JSON))

    def _bind(self, name: str, **sizes: int) -> tuple[dict[str, Tensor], Launch]:
        """The buffers of a graph at certain sizes, and what launches it: a context of its own is bound to them once."""
        ports = (*self._table[name].inputs, *self._table[name].outputs)
        settings = self._plans[name].create_runtime_config()
        for setting, value in runtime_settings(self._product).items():
            setattr(settings, setting, value)
        settings.set_execution_context_allocation_strategy(
            self._product.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        context = require(self._plans[name].create_execution_context(settings), f"prepare {name}", self._log)
        context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
        new = partial(torch.zeros, device=self.device)
        buffers = {port.name: new(port.shape(sizes), dtype=getattr(torch, port.dtype)) for port in ports}
        for port in self._table[name].inputs:
            require(context.set_input_shape(port.name, buffers[port.name].shape), f"shape {port.name}", self._log)
        for port in ports:
            require(context.set_tensor_address(port.name, buffers[port.name].data_ptr()), f"bind {port}", self._log)
        torch.cuda.synchronize(self.device)
        handle, act = self._stream.cuda_stream, f"run {name}"
        return buffers, self._prepare(lambda: require(context.execute_async_v3(handle), act, self._log), self._stream)
