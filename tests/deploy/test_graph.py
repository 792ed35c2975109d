"""The graph: what it takes and returns, its precision, and that known mistakes do not pass."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from zodi.engines.segmenters import DeployedSegmenter
from zodi.errors import ModelError, SettingsError
from zodi.export.acceptance import make_reference, measure, refusals
from zodi.export.half import convert_precision
from zodi.export.segmenter import SegmenterChoice, describe
from zodi.export.segmenter_files import open_graph
from zodi.export.segmenter_onnx import add_head, trace


@pytest.fixture(scope="module")
def run(traced, file):
    """The graph's logits."""
    return open_graph(traced, file).run_file


def test_the_graph_computes_what_the_net_computes(run, reference, file):
    figures = measure(reference, lambda images: run(images).argmax(axis=1), run, file)
    assert figures["images"] == 6
    assert figures["pixel_agreement"] == 1.0
    assert figures["miou_file"] == figures["miou_torch"] > 0
    assert 0 < figures["logits_error"] < 10 * figures["logits_floor"] < 1e-3
    assert refusals(figures, 0.5) == []


@pytest.mark.parametrize(
    "mistake",
    [
        lambda run, images: run(images[..., ::-1].copy()),
        lambda run, images: run(images // 2),
        lambda run, images: run(images[:, ::-1].copy())[:, :, ::-1].copy(),
        lambda run, images: run(images)[:, :, :, ::-1].copy(),
        lambda run, images: np.roll(run(images), 1, axis=1),
    ],
    ids=["bgr", "another-range", "upside-down", "mirrored", "classes-shifted"],
)
def test_a_mistake_is_refused_by_a_wide_margin(run, reference, file, mistake):
    figures = measure(
        reference, lambda images: mistake(run, images).argmax(axis=1), lambda images: mistake(run, images), file
    )
    assert figures["logits_error"] > 1000 * figures["logits_floor"]
    assert "rounding explains" in refusals(figures, 100.0)[0]


@pytest.mark.parametrize("output", ["labels", "logits", "probabilities"])
def test_what_it_takes_and_returns(traced, file, tmp_path, output):
    path = tmp_path / f"{output}.onnx"
    add_head(traced, path, file, output)
    graph = onnx.load(path).graph
    described = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }
    shape = ["batch", 32, 64] if output == "labels" else ["batch", 19, 32, 64]
    kind = TensorProto.UINT8 if output == "labels" else TensorProto.FLOAT
    assert described == {"image": (TensorProto.UINT8, ["batch", 32, 64, 3]), output: (kind, shape)}
    assert not any(node.doc_string or node.metadata_props for node in graph.node)


def test_probabilities_are_the_softmax(traced, file, tmp_path, reference, run):
    add_head(traced, tmp_path / "p.onnx", file, "probabilities")
    images = np.stack(reference.samples.images[:2])
    given = open_graph(tmp_path / "p.onnx", replace(file, output="probabilities")).probabilities(images)
    by_hand = DeployedSegmenter(traced, replace(file, output="logits"), run).probabilities(images)
    assert np.allclose(given.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(given, by_hand, atol=1e-5)


def test_any_size(segmenter, file, reference, tmp_path):
    """A graph whose size may vary, at three sizes, one of which it must be padded for; the largest is square."""
    dynamic = replace(file, dynamic="all")
    trace(segmenter, tmp_path / "g.onnx", dynamic, file.made["opset"])
    opened = open_graph(tmp_path / "g.onnx", replace(dynamic, output="logits"))
    figures = measure(make_reference(segmenter, reference.samples, dynamic), opened.predict, opened.run_file, dynamic)
    assert refusals(figures, 0.5) == []
    add_head(tmp_path / "g.onnx", tmp_path / "labels.onnx", dynamic, "labels")
    labels = open_graph(tmp_path / "labels.onnx", dynamic)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    assert labels.predict(image).shape == (1, 64, 64)
    assert np.array_equal(labels.predict(image[:, :41, :37]), opened.predict(image[:, :41, :37]))
    assert labels.predict(image[:, :41, :37]).shape == (1, 41, 37)


# --- half precision


@pytest.mark.parametrize(("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_half_precision_is_in_the_graph(traced, tmp_path, precision, kind):
    convert_precision(traced, tmp_path / "half.onnx", precision)
    graph = onnx.load(tmp_path / "half.onnx").graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 20
    assert {types[name] for node in convolutions for name in node.input if name in types} == {kind}
    assert {types[name] for name in graph.node[2].input[1:]} == {TensorProto.FLOAT}, "normalisation is exact"
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_fp16_loses_only_what_rounding_explains(traced, segmenter, reference, file, tmp_path):
    convert_precision(traced, tmp_path / "half.onnx", "fp16")
    half = replace(file, precision="fp16", output="logits")
    opened = open_graph(tmp_path / "half.onnx", half)
    figures = measure(make_reference(segmenter, reference.samples, half), opened.predict, opened.run_file, half)
    assert 1e-5 < figures["logits_error"] < 10 * figures["logits_floor"]
    assert figures["pixel_agreement"] > 0.98


def test_a_weight_that_fp16_cannot_hold(traced, tmp_path):
    model = onnx.load(traced)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4 and tensor.dims[1] > 1)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e9), weight.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(ModelError, match=r"is beyond the range of fp16: use --precision bf16"):
        convert_precision(tmp_path / "large.onnx", tmp_path / "half.onnx", "fp16")


def test_wrong_requests(segmenter):
    with pytest.raises(SettingsError, match=r"multiples of 16: use --size 32x96"):
        describe(segmenter, SegmenterChoice(size=(30, 100)), "")
    with pytest.raises(SettingsError, match="precision is 'int4'"):
        SegmenterChoice(precision="int4")
