"""OpenVINO models on the CPU; the precision that is executed is read back, never assumed. Without PyTorch."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from zodi import telemetry
from zodi.engines.devices import cpu_threads
from zodi.engines.onnx_weights import detach_weights, linked_weights
from zodi.errors import EngineError, ModelError

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of int8 the hint is for what is not quantised
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
COSTLY = frozenset(("Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention"))


def compile_graph(path: Path, precision: str, threads: int | None) -> Any:
    """An inference request for an ONNX file; raises as `read_model` and `compile_model`."""
    return compile_model(read_model(path), path, precision, threads)


def compile_bf16_graph(path: Path) -> Any:
    """An inference request for an ONNX file in bf16, in what OpenVINO executes it in on this CPU.

    That is bf16, by instructions or emulated, or else fp32, which rounds less. Raises as `read_model`.
    """
    precision = "bf16" if "bf16" in cpu_precisions() else "fp32"
    return _compile(read_model(path), path, precision, None).create_infer_request()


def read_model(path: Path) -> Any:
    """A model from an ONNX file or OpenVINO's own .xml and .bin.

    Raises EngineError where openvino is missing, ModelError where it cannot read the file.
    """
    core = open_core()
    try:
        try:
            return core.read_model(path)
        except RuntimeError:
            weights = linked_weights(path)
            if weights is None:
                raise
            return _read_linked(core, path, weights)
    except RuntimeError as error:
        raise _unreadable(path, error) from None


def _read_linked(core: Any, path: Path, weights: Path) -> Any:
    """A model whose weights are a link out of its folder, which OpenVINO does not follow from 2026.2 on."""
    content, arrays = detach_weights(path, weights)
    model, constant = core.read_model(content), import_openvino().op.Constant
    for parameter in model.get_parameters():
        array = arrays.get(parameter.get_friendly_name())
        if array is not None:
            parameter.output(0).replace(constant(array, shared_memory=True).output(0))
            model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return model


def compile_model(model: Any, path: Path, precision: str, threads: int | None) -> Any:
    """An inference request for a model that was read from `path`, for one image or batch at a time.

    precision  "fp32", "bf16" or, for a quantised model, "int8"

    Raises EngineError where another precision is executed, ModelError where the model cannot be compiled.
    """
    if precision == "bf16" and precision not in cpu_precisions():
        raise EngineError(f"{path.stem}: OpenVINO does not execute bf16 on this CPU: use --precision fp32")
    compiled = _compile(model, path, precision, threads)
    executed = executed_precisions(compiled)
    # fp32 means all of it; in bf16 and int8 single layers may stay exact
    if executed[precision] < executed.total() * (1.0 if precision == "fp32" else 0.5):
        found = ", ".join(f"{count} in {name}" for name, count in executed.items())
        raise EngineError(
            f"{path.stem}: asked for {precision}, but OpenVINO executes its {executed.total()} matrix products "
            f"{found}: this CPU has no {precision}, use --precision fp32"
        )
    return compiled.create_infer_request()


@cache
def cpu_precisions() -> tuple[str, ...]:
    """Which of fp32 and bf16 OpenVINO executes on this CPU: found by asking for a convolution in each.

    Flags of the processor do not tell: one without instructions for bf16 may still execute it, emulated. Raises
    EngineError where openvino is missing.
    """
    opset = import_openvino().opset13
    image = opset.parameter([1, 16, 16, 16], np.float32)
    weights = opset.constant(np.ones((16, 16, 3, 3), np.float32))
    model = import_openvino().Model([opset.convolution(image, weights, [1, 1], [0, 0], [0, 0], [1, 1])], [image])

    def executes(precision: str) -> bool:
        try:
            return executed_precisions(_compile(model, Path("probe"), precision, 1))[precision] > 0
        except ModelError:  # it takes the precision for one that it has, and then finds no kernel
            return False

    return tuple(precision for precision in ("fp32", "bf16") if executes(precision))


def executed_precisions(compiled: Any) -> Counter[str]:
    """How many convolutions and matrix products of a compiled model are executed in which precision."""
    found: Counter[str] = Counter()
    for operation in compiled.get_runtime_model().get_ops():
        info = operation.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) in COSTLY:
            executed = info["runtimePrecision"].astype(str)
            found[NAMES.get(executed, executed)] += 1
    return found


@cache
def open_core() -> Any:
    """The one Core of this process, which stays.

    On CPUs with AMX each Core gives the thread a stack for its signal handlers and puts the one before back when it
    goes, in whatever order they go: signals of a process that has closed several end it by a segmentation fault.
    """
    return import_openvino().Core()


def import_openvino() -> Any:
    """The package; EngineError that says how to install it."""
    try:
        return telemetry.import_openvino()
    except ImportError as error:
        raise EngineError(f"openvino cannot be imported ({error}): pip install 'zodi[cpu]'") from None


def _compile(model: Any, path: Path, precision: str, threads: int | None) -> Any:
    properties = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": cpu_threads(threads),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        return open_core().compile_model(model, "CPU", properties)
    except RuntimeError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: RuntimeError) -> ModelError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ModelError(f"{path}: openvino cannot load it: {lines[-1][:300] if lines else repr(error)}")
