"""A segmenter's ONNX graph as a TensorRT plan, by the builder of the diffusion graphs."""

from pathlib import Path
from typing import Any

from zodi.engines.profile import Profile
from zodi.engines.trt_build import PlanChoice, build_plan
from zodi.engines.trt_plans import find_target, plan_target
from zodi.ports import Dim, Graph, Port
from zodi.segmenter.info import PORT, FileInfo

SIZE_RANGE = 2  # where the size may vary, sides go from one multiple to so many times the usual one


def build_engine(graph: Path, file: FileInfo, capabilities: tuple[str, ...]) -> tuple[bytes, dict[str, Any]]:
    """The serialised plan of a finished graph, and what it was built with and for.

    capabilities  compute capabilities to build for ahead of time, by TensorRT for RTX; none: the GPU that is here

    Raises EngineError where TensorRT or a GPU is missing, ModelError where it cannot take the graph.
    """
    choice = PlanChoice(tuple(capabilities))
    product, here = find_target(choice, "auto")
    table, profile = describe_graph(file)
    plan = build_plan(product, graph, table, profile, file.precision, choice, tf32=file.precision != "fp32")
    return bytes(plan), plan_target(product, here, choice)


def describe_graph(file: FileInfo) -> tuple[Graph, Profile]:
    """The ports of a file, and the range of each size."""
    height, width = file.model.size
    sides: tuple[Dim | int, Dim | int] = (Dim("height"), Dim("width")) if file.dynamic == "all" else (height, width)
    batch = file.batch[1] if file.dynamic == "none" else Dim("batch")
    outputs = {
        "labels": Port("labels", (batch, *sides), "uint8"),
        "logits": Port("logits", (batch, len(file.model.classes), *sides)),
        "probabilities": Port("probabilities", (batch, len(file.model.classes), *sides)),
    }
    profile: Profile = {} if file.dynamic == "none" else {"batch": file.batch}
    if file.dynamic == "all":
        profile |= {
            "height": (file.multiple, height, SIZE_RANGE * height),
            "width": (file.multiple, width, SIZE_RANGE * width),
        }
    return Graph("segmenter", (Port(PORT, (batch, *sides, 3), "uint8"),), (outputs[file.output],)), profile
