"""ONNX Runtime sessions that run where they were asked to; without PyTorch."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zodi.engines.devices import cpu_threads
from zodi.engines.onnx_weights import linked_weights, rename_weights
from zodi.errors import EngineError, ModelError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
# what the CUDA provider leaves to the CPU on purpose: arithmetic on shapes, a few integers long
SHAPE_OPERATORS = frozenset(
    ("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Cast", "Add", "Sub", "Mul", "Div", "Mod", "Max",
     "Min", "Range", "Reshape", "ConstantOfShape", "Expand", "Where", "Equal", "Constant", "Identity")
)  # fmt: skip


def open_session(
    path: Path,
    device: str = "cpu",
    *,
    threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    fixed: Mapping[str, int] | None = None,
    fused: bool = False,
) -> Any:
    """An ONNX Runtime session whose nodes all run where they were asked to.

    device  "cpu" or "cuda"
    fixed   values for symbols of the graph's ports, which makes their shapes constants
    fused   whether attention runs as one operator, see `fuse_attention`

    Raises EngineError where onnxruntime or the provider is missing or leaves nodes to another one, ModelError where
    the file cannot be loaded.
    """
    runtime = import_onnxruntime()
    provider = PROVIDERS[device]
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
    weights = linked_weights(path)
    if fused or weights:
        folder = weights.parent if weights else path.absolute().parent
        options.add_session_config_entry(WEIGHTS_FOLDER, os.fspath(folder))
    try:
        session = runtime.InferenceSession(
            _read(path, fused, weights), options, providers=[(provider, dict(provider_options or {}))]
        )
    except Exception as error:  # onnxruntime's own classes share no base below this one
        first = str(error).splitlines()[0][:300]
        raise ModelError(f"{path}: onnxruntime cannot load it: {first}") from None
    check_providers(session, provider)
    return session


def _read(path: Path, fused: bool, weights: Path | None) -> str | bytes:
    """What the session is made from: the file, or its content where that is changed first."""
    if not fused and weights is None:
        return os.fspath(path)
    if fused:
        from zodi.engines.ort_attention import fuse_attention

        content = fuse_attention(path)
    else:
        content = path.read_bytes()
    return content if weights is None else rename_weights(content, path, weights.name)


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


def import_onnxruntime() -> Any:
    """The package; EngineError that says how to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported ({error}): pip install 'zodi[cpu]', or 'zodi[gpu]' on an NVIDIA GPU"
        ) from None
    return onnxruntime
