"""OpenVINO models on the CPU; the precision that is executed is read back, never assumed. Without PyTorch."""

from collections import Counter
from pathlib import Path
from typing import Any

from zodi.engines.devices import cpu_threads
from zodi.errors import EngineError, ModelError

HINTS = {"fp32": "f32", "bf16": "bf16"}
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
COSTLY = frozenset(("Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention"))


def compile_graph(path: Path, precision: str, threads: int | None) -> Any:
    """An inference request for an ONNX file.

    Raises EngineError where openvino is missing or executes another precision, ModelError where it cannot read it.
    """
    runtime = import_openvino()
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


def import_openvino() -> Any:
    """The package; EngineError that says how to install it."""
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"openvino cannot be imported ({error}): pip install 'zodi[cpu]'") from None
    return openvino
