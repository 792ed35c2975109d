"""One ONNX file becomes one TensorRT plan: parsed, checked, given its profile, built."""

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zodi.engines.profile import Profile
from zodi.engines.trt_product import RTX, capabilities, first_error, open_log, require
from zodi.errors import EngineError, ModelError, OutputError, SettingsError
from zodi.ports import Dim, Graph, Port

Report = Callable[[float, str], None]  # share that is done, 0..1, and what is done now

DTYPES = {"float32": "FLOAT", "int64": "INT64", "uint8": "UINT8"}  # of ports
# between quantised tensors products of int8 are typed as their result is
COMPUTE_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "int8": "FLOAT"}


@dataclass(frozen=True)
class PlanChoice:
    """How plans are built.

    compute_capabilities  GPUs to build for ahead of time, e.g. ("8.6", "8.9"); empty: the GPU that is here
    workspace_mib         what a layer may use for intermediate results; None: all of the GPU's memory
    optimization_level    0 (builds fast) to 5 (runs fast); `tensorrt_rtx` chooses its kernels where it runs instead
    """

    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int = 3


def build_plan(
    product: Any,
    path: Path,
    graph: Graph,
    profile: Profile,
    precision: str,
    choice: PlanChoice,
    *,
    tf32: bool = False,
    timing_cache: Path | None = None,
    report: Report = lambda share, what: None,
) -> memoryview:
    """The plan for an ONNX file.

    precision     of the file, which must be what the parsed network computes in
    tf32          whether products in fp32 may round their factors to 10 bits of mantissa
    timing_cache  read where it is there, and written; without effect on `tensorrt_rtx`

    Raises ModelError where the file is not the graph or has nodes that TensorRT cannot run, EngineError where building
    fails, SettingsError for a choice that cannot be.
    """
    log = open_log(product)
    monitor = open_monitor(product, report)
    builder = require(product.Builder(log), "start", log)
    config = builder.create_builder_config()
    configure(product, config, choice)
    if not tf32:
        config.clear_flag(product.BuilderFlag.TF32)
    network = builder.create_network(1 << int(product.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = product.OnnxParser(network, log)
    parse(parser, path, log)
    check_network(product, network, graph, profile, precision, path)
    if any(low != high for low, _, high in profile.values()):
        add_profile(builder, config, graph, profile, path, log)
    config.progress_monitor = monitor
    if timing_cache is not None:
        load_timing_cache(config, timing_cache)
    with ended_by_sigint(monitor):
        plan = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(f"{path}: TensorRT cannot build it: {first_error(log)}")
    if timing_cache is not None:
        save_timing_cache(config, timing_cache)
    return memoryview(plan)


def configure(product: Any, config: Any, choice: PlanChoice) -> None:
    """Settings of the user; SettingsError for what the product cannot do."""
    if not 0 <= choice.optimization_level <= 5:
        raise SettingsError(f"optimization level is {choice.optimization_level}, allowed is 0 to 5")
    config.builder_optimization_level = choice.optimization_level
    config.profiling_verbosity = product.ProfilingVerbosity.DETAILED  # the types of layers can be read back
    if choice.workspace_mib is not None:
        config.set_memory_pool_limit(product.MemoryPoolType.WORKSPACE, choice.workspace_mib * 2**20)
    if product.__name__ == RTX:
        # the runtime captures CUDA graphs, for which all memory must be given to it
        config.set_flag(product.BuilderFlag.REQUIRE_USER_ALLOCATION)
        targets = target_capabilities(product, choice.compute_capabilities)
        config.num_compute_capabilities = len(targets)
        for i, target in enumerate(targets):
            config.set_compute_capability(target, i)


def target_capabilities(product: Any, wanted: Sequence[str]) -> list[Any]:
    """The product's constants for compute capabilities; for none, that of the GPU which is here."""
    known = capabilities(product)
    for capability in wanted:
        if capability not in known:
            raise SettingsError(
                f"compute capability is {capability!r}, {RTX} {product.__version__} builds for {', '.join(known)}: "
                "for others take tensorrt, on the GPU itself"
            )
    return [known[capability] for capability in wanted] or [product.ComputeCapability.CURRENT]


def parse(parser: Any, path: Path, log: Any) -> None:
    """Read an ONNX file into the parser's network; ModelError names the nodes that TensorRT does not support."""
    if parser.parse_from_file(str(path)):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    nodes = [f"{error.node_operator()} ({error.node_name()})" for error in errors if error.node_operator()]
    if nodes:
        raise ModelError(f"{path}: TensorRT cannot run {len(nodes)} of its nodes: {', '.join(nodes[:5])}")
    reasons = [error.desc().split(": ", 2)[-1] for error in errors]  # without the condition that failed
    raise ModelError(f"{path}: TensorRT cannot read it: {reasons[0] if reasons else first_error(log)}")


def check_network(product: Any, network: Any, graph: Graph, profile: Profile, precision: str, path: Path) -> None:
    """Compare a parsed network with the table of ports, and the type of its products with the precision.

    A network is strongly typed: what its tensors are is what is computed. Raises ModelError that names what differs.
    """
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    for kind, ports, tensors in (("input", graph.inputs, inputs), ("output", graph.outputs, outputs)):
        given = [f"{tensor.name} {tensor.dtype.name} {tuple(tensor.shape)}" for tensor in tensors]
        expected = [f"{port.name} {DTYPES[port.dtype]} {_shape(port, profile)}" for port in ports]
        if given != expected:
            raise ModelError(f"{path}: TensorRT reads the {kind}s {given}, expected {expected}: export it again")
    products = (product.LayerType.CONVOLUTION, product.LayerType.DECONVOLUTION, product.LayerType.MATRIX_MULTIPLY)
    layers = [layer for i in range(network.num_layers) if (layer := network.get_layer(i)).type in products]
    found = [(layer.name, layer.get_output(0).dtype.name) for layer in layers]
    wrong = [name for name, dtype in found if dtype != COMPUTE_TYPES[precision]]
    if wrong or not found:
        raise ModelError(
            f"{path}: {len(wrong)} of {len(found)} convolutions and matrix products are not {precision} "
            f"({', '.join(wrong[:3])}): export it again with --precision {precision}"
        )


def add_profile(builder: Any, config: Any, graph: Graph, profile: Profile, path: Path, log: Any) -> None:
    """Give the network the ranges of its inputs' shapes."""
    ranges = builder.create_optimization_profile()
    for port in graph.inputs:
        if any(isinstance(dim, Dim) for dim in port.dims):
            shapes = [port.shape({symbol: values[i] for symbol, values in profile.items()}) for i in range(3)]
            ranges.set_shape(port.name, *shapes)
    if config.add_optimization_profile(ranges) < 0:
        raise EngineError(f"{path}: TensorRT cannot take the sizes {profile}: {first_error(log)}")


def open_monitor(product: Any, report: Report) -> Any:
    """A TensorRT progress monitor that reports the share of the outermost phase, and ends the build on Ctrl-C."""

    class Monitor(product.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.interrupted = False
            self._reported = 0.0
            self._phases: dict[str, list[int]] = {}  # open ones, outermost first: steps that are done, and all

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = [0, num_steps]
            report(self._share(), phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:  # an exception must not pass through TensorRT
                self._phases[phase_name][0] = step + 1
                report(self._share(), phase_name)
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def _share(self) -> float:
            share, width = 0.0, 1.0
            for done, steps in self._phases.values():
                width /= max(steps, 1)
                share += done * width
            # a phase within another may end before that one's step counts as done
            self._reported = max(self._reported, min(share, 1.0))
            return self._reported

    return Monitor()


@contextmanager
def ended_by_sigint(monitor: Any) -> Iterator[None]:
    """Tell the monitor of Ctrl-C, in the main thread: TensorRT swallows an exception in most of its callbacks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: setattr(monitor, "interrupted", True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def load_timing_cache(config: Any, path: Path) -> None:
    """Use the kernel timings of earlier builds; one that another version or GPU wrote is left aside by TensorRT."""
    content = path.read_bytes() if path.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(content), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: Any, path: Path) -> None:
    """Keep the kernel timings for later builds, where they can be written."""
    from zodi.files import write_atomic

    with suppress(OutputError):  # they save time; the plan, which took minutes, is there without them
        write_atomic(path, bytes(config.get_timing_cache().serialize()))


def cache_name(product: Any, gpu: str) -> str:
    """A file name for the timings of a GPU by a version of a product."""
    return re.sub(r"[^\w.-]+", "-", f"{product.__name__}-{product.__version__}-{gpu}.timing")


def _shape(port: Port, profile: Profile) -> tuple[int, ...]:
    """The shape that the network must have: -1 where sizes may vary."""
    sizes = {symbol: high if low == high else -1 for symbol, (low, _, high) in profile.items()}
    return tuple(max(size, -1) for size in port.shape(sizes))
