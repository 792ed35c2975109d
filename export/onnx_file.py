"""One graph as an ONNX file: traced, saved with its weights beside it, checked against the table of ports."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zodi.engines.bundle import METADATA_KEY
from zodi.engines.profile import Profile
from zodi.errors import ModelError
from zodi.export.precision import DTYPES, Border
from zodi.ports import Dim, Graph, Port

EXPORTER = "torch.onnx.export(dynamo=True)"
OPSETS = {"fp32": 20, "fp16": 20, "bf16": 22}  # convolutions know bfloat16 from 22 on
# The first ONNX Runtime that runs an opset at its lowest IR version: the table "ONNX opset support" of
# https://onnxruntime.ai/docs/reference/compatibility.html, which ends at 1.20; 1.21 and 1.23 by trying each release.
# It has 1.14 for opset 18, which cannot be tried: Python 3.11 has no older wheel than 1.15.
# The exporter writes no lower opset than 18, and no higher one than 23 with the oldest onnxscript that zodi allows.
ONNXRUNTIMES = {18: "1.15", 19: "1.16", 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.23"}
ELEMENT_TYPES = {"float32": 1, "int64": 7}  # onnx.TensorProto
WEIGHT_TYPES = {"fp32": 1, "fp16": 10, "bf16": 16}


def write_graph(
    module: nn.Module, graph: Graph, inputs: Sequence[Tensor], path: Path, *, profile: Profile, precision: str
) -> None:
    """Trace `module` on `inputs` and write `path` and `path.data`; in half precision the module is cast in place.

    inputs   with a batch of two or more and H != W, else tracing takes sizes for equal or constant that are not
    profile  sizes that may vary become symbols of the file; the others are constants

    The tracer works on shapes alone: nothing is computed, and the weights are not copied before they are written.
    """
    traced = module if precision == "fp32" else Border(module, DTYPES[precision])
    varying = {symbol for symbol, (low, _, high) in profile.items() if low != high}
    shapes = tuple(
        {i: torch.export.Dim.DYNAMIC for i, d in enumerate(port.dims) if isinstance(d, Dim) and d.symbol in varying}
        for port in graph.inputs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what it deprecates
        # a first pass without the exporter's other strategies: what they would hide is an error of the graph
        exported = torch.export.export(
            traced, tuple(inputs), dynamic_shapes=(shapes,) if isinstance(traced, Border) else shapes, strict=False
        )
        program: Any = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSETS[precision],
            input_names=[port.name for port in graph.inputs],
            output_names=[port.name for port in graph.outputs],
            verbose=False,
        )
    model = program.model
    outputs = {id(value) for value in model.graph.outputs}
    taken = {port.name for port in (*graph.inputs, *graph.outputs)}
    for node in model.graph:
        node.metadata_props.clear()  # stack traces, which are most of the file and hold paths
        node.doc_string = None
        for value in node.outputs:
            if value.name in taken and id(value) not in outputs:  # the tracer names values by their operators
                value.name = f"inner_{value.name}"
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path, external_data=True)
    _name_dimensions(path, graph, varying)


def lowest_ir(opsets: Mapping[str, int]) -> int:
    """The IR version that ONNX released opsets, by domain, with; domains that are not ONNX's own ask for none."""
    from onnx import helper

    return int(helper.find_min_ir_version_for([helper.make_opsetid(*o) for o in opsets.items()], ignore_unknown=True))


def lower_ir(model: Any) -> None:
    """Give a model the lowest IR version of its opsets; the exporter's is later, and older runtimes refuse it."""
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")  # the tracer's notes, which came with IR version 10
    model.ir_version = lowest_ir({opset.domain: opset.version for opset in model.opset_import})


def attach_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Write the identity into the file's metadata; the last change to it, as many tools drop what they do not know."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(identity)})
    onnx.save(model, path)


def check_structure(path: Path, graph: Graph, profile: Profile, precision: str) -> None:
    """Check a file by ONNX's own rules, its ports against the table, and its weights' type.

    Raises ModelError that names what differs.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=False)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path}: is not valid ONNX: {str(error).splitlines()[0]}") from None
    model = onnx.load(path, load_external_data=False)
    for kind, ports, values in (
        ("input", graph.inputs, model.graph.input),
        ("output", graph.outputs, model.graph.output),
    ):
        given = [f"{v.name} {v.type.tensor_type.elem_type} ({', '.join(_dims(v))})" for v in values]
        wanted = [_describe(port, profile) for port in ports]
        if given != wanted:
            raise ModelError(f"{path}: {kind}s are {given}, expected {wanted}")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm", "Transpose")]
    weights = {name: types[name] for node in products for name in node.input if name in types}
    wrong = [name for name, kind in weights.items() if kind != WEIGHT_TYPES[precision]]
    if wrong or not weights:
        raise ModelError(f"{path}: {len(wrong)} of {len(weights)} weights are not {precision}: {', '.join(wrong[:3])}")


def _name_dimensions(path: Path, graph: Graph, varying: set[str]) -> None:
    """Give the ports' dimensions the names of the table; inner shapes, which use the tracer's names, are dropped."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    lower_ir(model)
    del model.graph.value_info[:]
    for port, value in zip((*graph.inputs, *graph.outputs), (*model.graph.input, *model.graph.output), strict=True):
        for dim, written in zip(port.dims, value.type.tensor_type.shape.dim, strict=True):
            if isinstance(dim, Dim) and dim.symbol in varying:
                written.dim_param = str(dim)
    onnx.save(model, path)


def _describe(port: Port, profile: Profile) -> str:
    dims = []
    for dim in port.dims:
        if isinstance(dim, Dim):
            low, _, high = profile[dim.symbol]
            dims.append(str(dim) if low != high else str(dim.factor * high))
        else:
            dims.append(str(dim))
    return f"{port.name} {ELEMENT_TYPES[port.dtype]} ({', '.join(dims)})"


def _dims(value: Any) -> list[str]:
    return [dim.dim_param or str(dim.dim_value) for dim in value.type.tensor_type.shape.dim]
