"""The graphs of a bundle on OpenVINO, on the CPU; the precision that was executed is read back, never assumed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from zodi.engines.bundle import Bundle
from zodi.engines.devices import find_device
from zodi.engines.openvino_model import compile_graph
from zodi.errors import EngineError
from zodi.ports import Graph, check_inputs, check_outputs, graphs

# in bf16 these stay fp32: they run once for an image, and rounding them costs 1.3 dB of the bundled model's 46.5
EXACT = frozenset(("text_encoder", "vae_encoder", "vae_decoder"))


class OpenVinoEngine:
    """Compiled OpenVINO models, one per graph; see `zodi.engines.Engine`."""

    name = "openvino"

    def __init__(self, bundle: Bundle, precision: str, threads: int | None) -> None:
        self.precision = precision
        self.device = torch.device("cpu")
        self._bundle = bundle
        self._table = graphs(bundle.info.dims)
        # the smallest graph with convolutions first: a precision that is not there shows before the large ones load
        order = sorted(self._table, key=lambda name: name != "control_hint")
        self._requests = {
            name: compile_graph(bundle.path(name), "fp32" if name in EXACT else precision, threads) for name in order
        }

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph; `inputs` and the result are CPU tensors by port name."""
        table, request = self._table[graph], self._requests[graph]
        sizes = check_inputs(table, inputs)
        self._bundle.check_sizes(table, sizes)
        outputs = infer(request, inputs, table)
        check_outputs(table, outputs, sizes)
        return outputs


def infer(request: Any, inputs: Mapping[str, Tensor], graph: Graph) -> dict[str, Tensor]:
    """Run a compiled graph; ports go by position, as OpenVINO renames those that the file casts at once."""
    arguments = {i: inputs[port.name].contiguous().numpy() for i, port in enumerate(graph.inputs)}
    results = request.infer(arguments, share_inputs=True)
    return {port.name: torch.from_numpy(results[i].copy()) for i, port in enumerate(graph.outputs)}


@contextmanager
def open_engine(bundle: Bundle, *, precision: str, device: str, threads: int | None = None) -> Iterator[OpenVinoEngine]:
    """See `zodi.engines.open_engine`. The bundle's files are fp32; OpenVINO itself rounds to bf16 where it can."""
    if precision not in ("fp32", "bf16"):
        raise EngineError(f"OpenVINO on the CPU computes in fp32 or bf16, not {precision}: use --precision fp32")
    if device != "auto" and find_device(device).type != "cpu":
        raise EngineError(f"--engine openvino runs on the CPU, not on {device!r}: use --device cpu, or --engine ort")
    if bundle.precision != "fp32":
        raise EngineError(f"{bundle.directory}: the files are {bundle.precision}, OpenVINO takes fp32 files")
    yield OpenVinoEngine(bundle, precision, threads)
