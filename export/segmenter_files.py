"""From the ONNX graph to the file of a format, with its metadata, and the ways to run what cannot run here."""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zodi.engines.openvino_model import compile_bf16_graph, import_openvino
from zodi.engines.ort_session import open_session
from zodi.engines.segmenters import DeployedSegmenter, Images
from zodi.export.segmenter_onnx import attach_metadata
from zodi.files import write_atomic
from zodi.segmenter.info import METADATA_KEY, PORT, FileInfo

FILES = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin"), "trt": ("model.engine", "model.engine.json")}


def write_file(graph: Path, directory: Path, file: FileInfo, capabilities: tuple[str, ...] = ()) -> Path:
    """Write a finished ONNX graph in the format that `file` names, and return the path to open.

    capabilities  for "trt": compute capabilities to build for ahead of time, none: the GPU that is here
    """
    path = directory / FILES[file.format][0]
    if file.format == "onnx":
        path.write_bytes(graph.read_bytes())
        attach_metadata(path, file)
    elif file.format == "openvino":
        openvino = import_openvino()
        model = openvino.convert_model(graph)
        model.set_rt_info(json.dumps(file.to_json(), ensure_ascii=False), [METADATA_KEY])
        openvino.save_model(model, path, compress_to_fp16=False)
    else:
        from zodi.export.segmenter_trt import build_engine

        plan, built = build_engine(graph, file, capabilities)
        # a plan holds no metadata, and is code: only what this description vouches for is loaded
        described = {METADATA_KEY: file.to_json(), "sha256": hashlib.sha256(plan).hexdigest(), "built": built}
        write_atomic(path, plan)
        write_atomic(path.with_name(path.name + ".json"), (json.dumps(described, indent=2) + "\n").encode())
    return path


def open_graph(graph: Path, file: FileInfo) -> DeployedSegmenter:
    """An ONNX graph on a CPU runtime that takes its precision, whatever machine the file is for."""
    if file.precision == "bf16":  # ONNX Runtime's CPU provider has no kernels for it
        request = compile_bf16_graph(graph)
        return DeployedSegmenter(graph, file, lambda images: request.infer([images])[0].copy())
    session = open_session(graph)
    return DeployedSegmenter(graph, file, lambda images: session.run(None, {PORT: images})[0])


def run_logits(graph: Path, images: Images) -> NDArray[np.float32]:
    """The logits (B, C, H, W) of images, by ONNX Runtime."""
    logits: NDArray[np.float32] = open_session(graph).run(None, {PORT: images})[0]
    return logits
