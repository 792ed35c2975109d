"""TensorRT plans of a segmenter, built for real by `tensorrt_rtx` without a GPU; what runs them needs one."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zodi.engines import segmenter_trt
from zodi.engines.segmenter_trt import check_gpu, read_description
from zodi.engines.segmenters import open_segmenter
from zodi.errors import EngineError, ModelError
from zodi.export.half import convert_precision
from zodi.export.quantise import calibrate, quantise
from zodi.export.segmenter_files import write_file
from zodi.export.segmenter_onnx import add_head

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: TensorRT's runtime")


def build(traced, file, reference, directory, precision):
    graph = directory / "graph.onnx"
    graph.write_bytes(traced.read_bytes())
    if precision == "fp16":
        convert_precision(traced, graph, precision)
    elif precision == "int8":
        quantise(calibrate(graph, [image[None] for image in reference.samples.images[:2]], "minmax"), graph)
    add_head(graph, directory / "finished.onnx", file, file.output)
    described = replace(file, format="trt", precision=precision)
    return write_file(directory / "finished.onnx", directory, described, ("8.6", "8.9"))


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def plan(request, traced, file, reference, tmp_path_factory):
    return build(traced, file, reference, tmp_path_factory.mktemp("plan"), request.param), request.param


def test_a_plan_is_built_and_described(plan, file):
    path, precision = plan
    assert path.name == "model.engine"
    assert path.stat().st_size > 100_000
    read, built = read_description(path)
    assert read == replace(file, format="trt", precision=precision)
    assert built["product"] == "tensorrt_rtx"
    assert built["compute_capability"] == ["8.6", "8.9"]


@no_cuda
def test_it_runs_only_on_a_gpu(plan):
    with pytest.raises(EngineError, match="TensorRT plans run on an NVIDIA GPU"):
        open_segmenter(plan[0])


@needs_cuda
def test_it_computes_the_same_ids(plan, reference):
    ids = open_segmenter(plan[0]).predict(np.stack(reference.samples.images))
    assert (ids == reference.ids).mean() > {"fp32": 0.999, "fp16": 0.98, "int8": 0.6}[plan[1]]


def test_a_plan_is_loaded_only_with_its_own_description(traced, file, reference, tmp_path):
    path = build(traced, file, reference, tmp_path, "fp32")
    described = path.with_name("model.engine.json")
    content = json.loads(described.read_text())
    for change, says in (
        ({"sha256": "0" * 64}, "its sha256 differs"),
        ({"built": content["built"] | {"product": "os"}}, "is for 'os', allowed are tensorrt, tensorrt_rtx"),
        ({"built": content["built"] | {"version": "0.1"}}, "its version is '0.1', here it is"),
        ({"zodi": content["zodi"] | {"classes": []}}, "0 classes and 19 colours"),
    ):
        described.write_text(json.dumps(content | change))
        with pytest.raises(ModelError, match=says):
            open_segmenter(path)
    described.write_text("{")
    with pytest.raises(ModelError, match=r"model\.engine\.json: is damaged"):
        open_segmenter(path)
    described.unlink()
    with pytest.raises(ModelError, match=r"a plan is loaded only with the description made with it"):
        open_segmenter(path)


def test_the_file_that_cannot_be_run_here_is_small_and_without_branches():
    text = Path(segmenter_trt.__file__).with_name("segmenter_trt_run.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    branches = (ast.If, ast.IfExp, ast.While, ast.Try, ast.Match, ast.BoolOp)
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, branches)]


def test_another_gpu(tmp_path):
    ahead = {"compute_capability": ["8.6"], "gpu": None}
    check_gpu(tmp_path, ahead, "8.6", "any card")
    with pytest.raises(ModelError, match=r"is built for compute capability 8\.6, here is a card \(9\.0\)"):
        check_gpu(tmp_path, ahead, "9.0", "a card")
    with pytest.raises(ModelError, match=r"is built for one card, here is another card"):
        check_gpu(tmp_path, {"compute_capability": ["9.0"], "gpu": "one card"}, "9.0", "another card")
