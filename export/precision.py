"""Half precision without computing in it, and the rounding error that a precision cannot do without."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Border(nn.Module):
    """A graph in half precision between float32 ports: the casts stand at its border."""

    def __init__(self, graph: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = graph.to(dtype)
        self.dtype = dtype

    def forward(self, *ports: Tensor) -> tuple[Tensor, ...]:
        results = self.inner(*(port.to(self.dtype) if port.is_floating_point() else port for port in ports))
        return tuple(result.float() for result in results)


def graph_precision(graph: str, precision: str) -> str:
    """What a graph is exported in: the VAE's decoder overflows in fp16, which gives black images, and stays fp32."""
    return "fp32" if graph == "vae_decoder" and precision == "fp16" else precision


def precision_floor(module: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor], precision: str) -> float:
    """The error that computing in a precision costs by itself, in units of the outputs' spread.

    outputs  what `module` gives for `inputs` in float32

    fp32: float32 against float64. bf16, fp16: weights and results of every layer rounded, against float32; sums are
    exact, as on hardware with float32 accumulators.
    """
    if precision == "fp32":
        doubled = [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs]
        with _weights_as(module, Tensor.double, lambda result: result):
            return max(map(spread_error, outputs, module(*doubled)))

    def rounded(tensor: Tensor) -> Tensor:
        return tensor.to(DTYPES[precision]).float() if tensor.is_floating_point() else tensor

    with _weights_as(module, rounded, lambda result: rounded(result) if isinstance(result, Tensor) else result):
        return max(map(spread_error, module(*map(rounded, inputs)), outputs))


def spread_error(given: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference in units of the standard deviation of `expected`."""
    exact = expected.double()
    return float((given.double() - exact).square().mean().sqrt() / exact.std())


@contextmanager
def _weights_as(module: nn.Module, convert: Callable[[Tensor], Tensor], after: Callable[[Any], Any]) -> Iterator[None]:
    """Within, every layer's weights are converted while that layer runs, one layer at a time, and its result after."""
    kept: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def enter(layer: nn.Module, arguments: Any) -> None:
        # those of its parts too: attention reads the weights of projections that it never calls
        own = [t for part in (layer, *layer.children()) for t in (*part.parameters(False), *part.buffers(False))]
        kept[layer] = [(tensor, tensor.data) for tensor in own]
        for tensor in own:
            if tensor.is_floating_point():
                tensor.data = convert(tensor.data)

    def leave(layer: nn.Module, arguments: Any, result: Any) -> Any:
        for tensor, data in kept.pop(layer):
            tensor.data = data
        return after(result)

    handles = []
    for layer in module.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
