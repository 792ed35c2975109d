"""A segmenter as an ONNX file: traced once in fp32 up to its logits; precision, head and metadata come after.

The file takes uint8 RGB images (B, H, W, 3) and normalises them itself.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from zodi.errors import ModelError
from zodi.export.onnx_file import EXPORTER, lower_ir
from zodi.segmenter.checkpoint import Segmenter
from zodi.segmenter.info import METADATA_KEY, PORT, FileInfo

LOGITS = "logits"


class FromPixels(nn.Module):
    """The net between uint8 images (B, H, W, 3) and logits (B, C, H, W) float32, without the void logit."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.net = segmenter.net
        self.classes = len(segmenter.info.classes)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", 255 * torch.tensor(segmenter.info.mean).view(3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(segmenter.info.std).view(3, 1, 1)))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.net(self.normalised(images))[:, : self.classes],)

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) to what the net takes, (B, 3, H, W)."""
        # cast before anything else: TensorRT takes uint8 nowhere but into a cast
        planes = images.to(torch.float32).permute(0, 3, 1, 2)
        return (planes - self.shift) * self.scale


def trace(segmenter: Segmenter, path: Path, file: FileInfo, opset: int) -> None:
    """Write the net up to its logits, in fp32, with batch norm folded into convolutions.

    Sizes that vary are called "batch", "height" and "width". Raises ModelError where the net cannot be traced so, or
    has an operator that the exporter cannot write in this opset.
    """
    if file.dynamic == "all" and any(isinstance(layer, Conv2dSame) for layer in segmenter.net.modules()):
        raise ModelError(  # the tracer would reason about nested roundings for hours
            f"{file.model.encoder} pads its convolutions by the size of the image, which therefore cannot vary: "
            "use --dynamic batch"
        )
    pooled = (layer for layer in segmenter.net.modules() if isinstance(layer, nn.AdaptiveAvgPool2d))
    if file.dynamic == "all" and any(layer.output_size not in (1, (1, 1)) for layer in pooled):
        raise ModelError(
            f"{file.model.architecture} pools to grids whose cells depend on the size of the image, which therefore "
            "cannot vary: use --dynamic batch"
        )
    dynamic = torch.export.Dim.DYNAMIC
    height, width = file.model.size
    batch, shapes = file.batch[1], {}
    if file.dynamic != "none":
        batch, shapes = 2, {0: dynamic}
    if file.dynamic == "all":  # equal sides would be taken for one
        width += file.multiple * (height == width)
        shapes |= {1: dynamic, 2: dynamic}
    module = FromPixels(segmenter).eval()
    example = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what it deprecates
        try:
            exported = torch.export.export(module, (example,), dynamic_shapes=(shapes,), strict=False)
        except Exception as error:  # the tracer raises whatever the net leads it to
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{file.model.architecture} on {file.model.encoder} cannot be traced with --dynamic {file.dynamic}: "
                f"{reason}: use --dynamic {'batch' if file.dynamic == 'all' else 'none'}"
            ) from None
        try:
            program: Any = torch.onnx.export(
                exported, dynamo=True, opset_version=opset, input_names=[PORT], output_names=[LOGITS], verbose=False
            )
        except torch.onnx.OnnxExporterError as error:
            raise _unwritable(file, opset, str(error.__cause__ or error)) from None
    if (written := program.model.opset_imports[""]) != opset:  # where it cannot convert, the exporter only warns
        raise _unwritable(file, opset, f"the exporter left it at {written}")
    taken = set()
    for node in program.model.graph:
        node.metadata_props.clear()  # stack traces, which hold paths
        node.doc_string = None
        weight = node.inputs[1].name if len(node.inputs) > 1 and node.inputs[1] is not None else ""
        layer = weight.removeprefix("net.").removesuffix(".weight")
        if layer != weight and layer not in taken:  # called as in the checkpoint, for whoever reads what int8 spared
            node.name = layer
            taken.add(layer)
    program.model.graph.metadata_props.clear()
    program.model.metadata_props.clear()
    program.save(path)
    _name_sizes(path, file)


def add_head(source: Path, target: Path, file: FileInfo, output: str) -> None:
    """Write the file with logits and the result that is asked for: labels, logits or probabilities; lowest IR version.

    Checked by ONNX's own rules, with shapes inferred strictly; ModelError where it breaks them.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(source)
    graph = model.graph
    if output != LOGITS:
        height, width = graph.output[0].type.tensor_type.shape.dim[2:]
        sides = [dim.dim_param or dim.dim_value for dim in (height, width)]
        batch = "batch" if file.dynamic != "none" else file.batch[1]
        del graph.output[:]
        if output == "labels":
            graph.node.append(helper.make_node("ArgMax", [LOGITS], ["largest"], "largest", axis=1, keepdims=0))
            graph.node.append(helper.make_node("Cast", ["largest"], [output], output, to=TensorProto.UINT8))
            value = helper.make_tensor_value_info(output, TensorProto.UINT8, [batch, *sides])
        else:
            graph.node.append(helper.make_node("Softmax", [LOGITS], [output], output, axis=1))
            shape = [batch, len(file.model.classes), *sides]
            value = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        graph.output.append(value)
    lower_ir(model)
    onnx.save(model, target)
    try:
        onnx.checker.check_model(str(target), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{target.name}: is not valid ONNX: {str(error).splitlines()[0]}") from None


def attach_metadata(path: Path, file: FileInfo) -> None:
    """Write the description into the file; the last change to it, as many tools drop what they do not know."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(file.to_json(), ensure_ascii=False)})
    onnx.save(model, path)


def exporter() -> str:
    """What made the graph."""
    return f"{EXPORTER}, torch {torch.__version__}"


def _unwritable(file: FileInfo, opset: int, reason: str) -> ModelError:
    return ModelError(
        f"{file.model.architecture} on {file.model.encoder} cannot be written in opset {opset}: "
        f"{' '.join(reason.split())[:200]}: use another --opset or another net"
    )


def _name_sizes(path: Path, file: FileInfo) -> None:
    """Name the sizes of the ports that vary; inner shapes, which use the tracer's names, are dropped."""
    import onnx

    model = onnx.load(path)
    del model.graph.value_info[:]
    names = {"batch": ("batch",), "all": ("batch", "height", "width"), "none": ()}[file.dynamic]
    for value, axes in ((model.graph.input[0], (0, 1, 2)), (model.graph.output[0], (0, 2, 3))):
        for name, axis in zip(names, axes, strict=False):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, path)
