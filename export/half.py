"""Half precision by conversion in the graph: weights and what runs between layers; normalisation stays fp32."""

from pathlib import Path
from typing import Any

import numpy as np

from zodi.errors import ModelError

# what stands between the image and the net, see `zodi.export.segmenter_onnx.FromPixels`
PREPARATION = ("Cast", "Transpose", "Sub", "Mul")
KEPT_INPUTS = {"Resize": (1, 2)}  # of an operator, inputs that are never images: roi and scales


def convert_precision(source: Path, target: Path, precision: str) -> None:
    """Write an fp32 graph in "fp16" or "bf16".

    Raises ModelError for a weight that the precision cannot hold.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    half = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    dtype = helper.tensor_dtype_to_np_dtype(half)

    def halved(tensor: Any) -> Any:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            rounded = values.astype(dtype)
        if not np.isfinite(rounded.astype(np.float32)).all():
            raise ModelError(f"the weight {tensor.name!r} is beyond the range of {precision}: use --precision bf16")
        return numpy_helper.from_array(rounded, tensor.name)

    border, before = _preparation(graph)
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    converted: set[str] = set()
    for node in graph.node:
        if any(node is other for other in before):
            continue
        for i, name in enumerate(node.input):
            if name == border:
                node.input[i] = f"{border}.{precision}"
            elif name in weights and i not in KEPT_INPUTS.get(node.op_type, ()):
                converted.add(name)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = half
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(halved(attribute.t))
    for name in converted:
        weights[name].CopyFrom(halved(weights[name]))
    (output,) = graph.output
    last = next(node for node in graph.node if output.name in node.output)
    last.output[list(last.output).index(output.name)] = f"{output.name}.{precision}"
    enter = helper.make_node("Cast", [border], [f"{border}.{precision}"], f"to_{precision}", to=half)
    leave = helper.make_node("Cast", [f"{output.name}.{precision}"], [output.name], "to_fp32", to=TensorProto.FLOAT)
    nodes = list(graph.node)
    nodes.insert(len(before), enter)
    del graph.node[:]
    graph.node.extend([*nodes, leave])
    onnx.save(model, target)


def _preparation(graph: Any) -> tuple[str, list[Any]]:
    """The tensor that enters the net, and the nodes from the image to it, moved to the front of the graph."""
    name, found = graph.input[0].name, []
    while True:
        users = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
        if len(users) != 1 or users[0].op_type not in PREPARATION:
            break
        found.append(users[0])
        name = users[0].output[0]
    others = [node for node in graph.node if not any(node is other for other in found)]
    del graph.node[:]
    graph.node.extend([*found, *others])
    return name, list(graph.node)[: len(found)]
