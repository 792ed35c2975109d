"""The names of TensorRT's programming interface that zodi uses exist in both products.

`tensorrt_rtx` is imported and asked. Of `tensorrt` only its Python bindings are on PyPI, which cannot be imported
without the libraries: there, the names are looked up in the compiled module, which holds them as text.
"""

import ast
import importlib.util
import re
from operator import attrgetter
from pathlib import Path

import pytest

import zodi.engines.trt

FOLDER = Path(zodi.engines.trt.__file__).parent
FILES = ("trt.py", "trt_build.py", "trt_plans.py", "trt_product.py", "trt_runtime.py", "segmenter_trt_run.py")

NAMES = {  # class -> its members that are used; "" is the module
    "": (
        "Builder", "BuilderFlag", "ExecutionContextAllocationStrategy", "ILogger", "IProgressMonitor",
        "LayerInformationFormat", "LayerType",
        "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser", "ProfilingVerbosity", "Runtime",
    ),
    "Builder": (
        "build_serialized_network", "create_builder_config", "create_network", "create_optimization_profile",
    ),
    "BuilderFlag": ("TF32",),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "IBuilderConfig": (
        "add_optimization_profile", "builder_optimization_level", "clear_flag", "create_timing_cache",
        "get_timing_cache", "profiling_verbosity", "progress_monitor", "set_flag", "set_memory_pool_limit",
        "set_timing_cache",
    ),
    "EngineInspector": ("get_engine_information",),
    "ICudaEngine": (
        "create_engine_inspector", "create_execution_context", "create_runtime_config", "device_memory_size_v2",
        "get_tensor_dtype", "get_tensor_name", "num_io_tensors",
    ),
    "IExecutionContext": (
        "execute_async_v3", "get_tensor_shape", "set_device_memory", "set_input_shape", "set_tensor_address",
    ),
    "ILayer": ("get_output", "name", "type"),
    "ILogger": ("Severity", "log"),
    "ILogger.Severity": ("ERROR",),
    "INetworkDefinition": ("get_input", "get_layer", "get_output", "num_inputs", "num_layers", "num_outputs"),
    "IOptimizationProfile": ("set_shape",),
    "IProgressMonitor": ("phase_finish", "phase_start", "step_complete"),
    "IRuntimeConfig": ("set_execution_context_allocation_strategy",),
    "ITensor": ("dtype", "name", "shape"),
    "ITimingCache": ("serialize",),
    "LayerInformationFormat": ("JSON",),
    "LayerType": ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"),
    "MemoryPoolType": ("WORKSPACE",),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "OnnxParser": ("get_error", "num_errors", "parse_from_file"),
    "ParserError": ("desc", "node_name", "node_operator"),
    "ProfilingVerbosity": ("DETAILED",),
    "Runtime": ("deserialize_cuda_engine",),
}  # fmt: skip
RTX_ONLY = {  # behind a test for the product
    "": ("ComputeCapability", "CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy"),
    "BuilderFlag": ("REQUIRE_USER_ALLOCATION",),
    "ComputeCapability": ("CURRENT",),
    "CudaGraphStrategy": ("WHOLE_GRAPH_CAPTURE",),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "IRuntimeConfig": ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"),
}
PLAIN = sorted({name for owner, members in NAMES.items() for name in (*owner.split("."), *members) if name})
OURS = {
    "append",
    "clear",
    "clone",
    "dims",
    "pop",
    "uint8",
    "write",
}  # what PyTorch, Python and zodi call as TensorRT calls something else


@pytest.fixture(scope="module")
def rtx():
    import tensorrt_rtx

    return tensorrt_rtx


def used_names() -> tuple[set[str], set[str]]:
    """In the TensorRT files: attributes, and what may be names as well: methods, and texts that are set by name."""
    attributes, others = set(), set()
    for file in FILES:
        for node in ast.walk(ast.parse((FOLDER / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                attributes.add(node.attr)
            elif isinstance(node, ast.FunctionDef):
                others.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                others.add(node.value)
    return attributes, others


@pytest.mark.parametrize("table", [NAMES, RTX_ONLY], ids=["both products", "tensorrt_rtx only"])
def test_every_listed_name_is_in_tensorrt_rtx(rtx, table):
    for owner, members in table.items():
        place = attrgetter(owner)(rtx) if owner else rtx
        assert not [name for name in members if not hasattr(place, name)], owner


def test_every_name_that_the_code_uses_is_listed_and_the_list_holds_no_others(rtx):
    attributes, others = used_names()
    assert len(attributes) > 100
    listed = {name for table in (NAMES, RTX_ONLY) for members in table.values() for name in members}
    classes = [each for each in vars(rtx).values() if isinstance(each, type) and each.__module__.startswith("tensorrt")]
    theirs = {member for place in (rtx, *classes) for member in vars(place) if not member.startswith("_")}
    assert attributes & theirs - OURS <= listed
    assert listed <= attributes | others


@pytest.mark.parametrize("name", PLAIN)
def test_every_listed_name_is_in_the_bindings_of_tensorrt(name):
    spec = importlib.util.find_spec("tensorrt_bindings")
    assert spec is not None and spec.origin is not None
    (module,) = Path(spec.origin).parent.glob("tensorrt*.so")
    # a C string, the end of a longer one that the linker merged it with, or a word of a docstring
    assert re.search(rb"%b\0|\b%b\b" % (name.encode(), name.encode()), module.read_bytes())
