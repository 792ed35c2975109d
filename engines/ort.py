"""The graphs of a bundle on ONNX Runtime: the CPU, or CUDA with bound buffers and CUDA graphs."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zodi.engines.bundle import Bundle
from zodi.engines.devices import cpu_threads, find_device
from zodi.engines.profile import check_profile
from zodi.errors import EngineError, ModelError
from zodi.ports import check_inputs, check_outputs, graphs

Shapes = Mapping[str, tuple[int, ...]]  # of the outputs
RunGraph = Callable[[Mapping[str, Tensor], Shapes], dict[str, Tensor]]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# what the CUDA provider leaves to the CPU on purpose: arithmetic on shapes, a few integers long
SHAPE_OPERATORS = frozenset(
    ("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Cast", "Add", "Sub", "Mul", "Div", "Mod", "Max",
     "Min", "Range", "Reshape", "ConstantOfShape", "Expand", "Where", "Equal", "Constant", "Identity")
)  # fmt: skip


class OrtEngine:
    """ONNX Runtime sessions, one per graph; see `zodi.engines.Engine`."""

    name = "ort"

    def __init__(self, bundle: Bundle, precision: str, device: torch.device, threads: int | None) -> None:
        self.precision = precision
        self.device = device
        self._bundle = bundle
        self._table = graphs(bundle.info.dims)
        self._profiles = {name: bundle.profile(name) for name in self._table}
        self._graphs: dict[str, RunGraph] = {}
        for name in self._table:
            if device.type == "cuda":
                from zodi.engines.ort_cuda import bind_graph

                self._graphs[name] = bind_graph(bundle.path(name), device, self._profiles[name], self._table[name])
            else:
                self._graphs[name] = partial(run_on_cpu, open_session(bundle.path(name), device, threads=threads))

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph; `inputs` and the result are tensors on `device` by port name."""
        table = self._table[graph]
        sizes = check_inputs(table, inputs)
        check_profile(table, self._profiles[graph], sizes, self._bundle.rebuild)
        shapes = {port.name: port.shape(sizes) for port in table.outputs}
        outputs = self._graphs[graph](inputs, shapes)
        check_outputs(table, outputs, sizes)
        return outputs


def run_on_cpu(session: Any, inputs: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Run a session on CPU tensors, which are passed without a copy."""
    names = list(shapes)
    results = session.run(names, {name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
    return {name: torch.from_numpy(result) for name, result in zip(names, results, strict=True)}


def open_session(
    path: Path,
    device: torch.device,
    *,
    threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    fixed: Mapping[str, int] | None = None,
) -> Any:
    """An ONNX Runtime session whose nodes all run where they were asked to.

    fixed  values for symbols of the graph's ports, which makes their shapes constants

    Raises EngineError where onnxruntime or the provider is missing or leaves nodes to another one, ModelError where
    the file cannot be loaded.
    """
    runtime = _import()
    provider = PROVIDERS[device.type]
    if provider not in runtime.get_available_providers():
        raise EngineError(
            f"this onnxruntime has no {provider} (it has {', '.join(runtime.get_available_providers())}): "
            "pip uninstall onnxruntime, then pip install 'zodi[gpu]', or use --device cpu"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cpu_threads(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what matters of the warnings is checked below
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for symbol, value in (fixed or {}).items():
        options.add_free_dimension_override_by_name(symbol, value)
    try:
        session = runtime.InferenceSession(
            os.fspath(path), options, providers=[(provider, dict(provider_options or {}))]
        )
    except Exception as error:  # onnxruntime's own classes share no base below this one
        first = str(error).splitlines()[0][:300]
        raise ModelError(f"{path}: onnxruntime cannot load it: {first}") from None
    check_providers(session, provider)
    return session


def check_providers(session: Any, provider: str) -> None:
    """Raise EngineError unless the session has the provider and every node that computes on images was given to it."""
    if session.get_providers()[0] != provider:
        raise EngineError(
            f"asked for {provider}, onnxruntime runs {session.get_providers()[0]}: "
            "its CUDA or cuDNN libraries are missing or too old, see `zodi doctor`"
        )
    misplaced = misplaced_nodes(session, provider)
    if misplaced:
        given = ", ".join(f"{count} {kind}" for kind, count in misplaced.items())
        raise EngineError(f"{provider} cannot run all of the graph, onnxruntime gave to another provider: {given}")


def misplaced_nodes(session: Any, provider: str) -> Counter[str]:
    """How many nodes of which operator were given to another provider, arithmetic on shapes apart."""
    return Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
        if node.op_type not in SHAPE_OPERATORS
    )


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported ({error}): pip install 'zodi[cpu]', or 'zodi[gpu]' on an NVIDIA GPU"
        ) from None
    return onnxruntime


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
