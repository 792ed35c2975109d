"""The graphs of a bundle on OpenVINO, on the CPU; the precision that was executed is read back, never assumed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zodi.engines.bundle import Bundle
from zodi.engines.devices import cpu_threads, find_device
from zodi.engines.profile import check_profile
from zodi.errors import EngineError, ModelError
from zodi.ports import Graph, check_inputs, check_outputs, graphs

HINTS = {"fp32": "f32", "bf16": "bf16"}
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
COSTLY = frozenset(("Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention"))


class OpenVinoEngine:
    """Compiled OpenVINO models, one per graph; see `zodi.engines.Engine`."""

    name = "openvino"

    def __init__(self, bundle: Bundle, precision: str, threads: int | None) -> None:
        self.precision = precision
        self.device = torch.device("cpu")
        self._bundle = bundle
        self._table = graphs(bundle.info.dims)
        self._profiles = {name: bundle.profile(name) for name in self._table}
        # the smallest graph with convolutions first: a precision that is not there shows before the large ones load
        order = sorted(self._table, key=lambda name: name != "control_hint")
        self._requests = {name: compile_graph(bundle.path(name), precision, threads) for name in order}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph; `inputs` and the result are CPU tensors by port name."""
        table, request = self._table[graph], self._requests[graph]
        sizes = check_inputs(table, inputs)
        check_profile(table, self._profiles[graph], sizes, self._bundle.rebuild)
        outputs = infer(request, inputs, table)
        check_outputs(table, outputs, sizes)
        return outputs


def infer(request: Any, inputs: Mapping[str, Tensor], graph: Graph) -> dict[str, Tensor]:
    """Run a compiled graph; ports go by position, as OpenVINO renames those that the file casts at once."""
    arguments = {i: inputs[port.name].contiguous().numpy() for i, port in enumerate(graph.inputs)}
    results = request.infer(arguments, share_inputs=True)
    return {port.name: torch.from_numpy(results[i].copy()) for i, port in enumerate(graph.outputs)}


def compile_graph(path: Path, precision: str, threads: int | None) -> Any:
    """An inference request for an ONNX file.

    Raises EngineError where openvino is missing or executes another precision, ModelError where it cannot read it.
    """
    runtime = _import()
    properties = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": cpu_threads(threads),
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = runtime.Core()
    try:
        compiled = core.compile_model(core.read_model(path), "CPU", properties)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ModelError(f"{path}: openvino cannot load it: {lines[-1][:300] if lines else error!r}") from None
    executed = executed_precisions(compiled)
    # fp32 means all of it; in bf16 single layers may stay exact
    if executed[precision] < executed.total() * (1.0 if precision == "fp32" else 0.5):
        found = ", ".join(f"{count} in {name}" for name, count in executed.items())
        raise EngineError(
            f"{path.stem}: asked for {precision}, but OpenVINO executes its {executed.total()} matrix products "
            f"{found}: this CPU has no {precision}, use --precision fp32"
        )
    return compiled.create_infer_request()


def executed_precisions(compiled: Any) -> Counter[str]:
    """How many convolutions and matrix products of a compiled model are executed in which precision."""
    found: Counter[str] = Counter()
    for operation in compiled.get_runtime_model().get_ops():
        info = operation.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) in COSTLY:
            executed = info["runtimePrecision"].astype(str)
            found[NAMES.get(executed, executed)] += 1
    return found


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"openvino cannot be imported ({error}): pip install 'zodi[cpu]'") from None
    return openvino


@contextmanager
def open_engine(bundle: Bundle, *, precision: str, device: str, threads: int | None = None) -> Iterator[OpenVinoEngine]:
    """See `zodi.engines.open_engine`. The bundle's files are fp32; OpenVINO itself rounds to bf16 where it can."""
    if precision not in HINTS:
        raise EngineError(f"OpenVINO on the CPU computes in fp32 or bf16, not {precision}: use --precision fp32")
    if device != "auto" and find_device(device).type != "cpu":
        raise EngineError(f"--engine openvino runs on the CPU, not on {device!r}: use --device cpu, or --engine ort")
    if bundle.precision != "fp32":
        raise EngineError(f"{bundle.directory}: the files are {bundle.precision}, OpenVINO takes fp32 files")
    yield OpenVinoEngine(bundle, precision, threads)
