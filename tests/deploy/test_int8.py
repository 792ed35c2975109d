"""int8: what TensorRT's parser takes, calibrated as asked, and layers that are spared in the order of their harm."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from zodi.errors import SettingsError
from zodi.export.quantise import QUANTISED, calibrate, quantise, rank_layers, steps
from zodi.export.segmenter_files import run_logits


@pytest.fixture(scope="module")
def calibrated(traced, reference, tmp_path_factory):
    copy = tmp_path_factory.mktemp("int8") / "traced.onnx"
    copy.write_bytes(traced.read_bytes())
    return calibrate(copy, [image[None] for image in reference.samples.images[:3]], "minmax")


def test_int8_is_symmetric_and_per_channel(calibrated, tmp_path):
    quantise(calibrated, tmp_path / "q.onnx")
    graph = onnx.load(tmp_path / "q.onnx").graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in QUANTISED]
    producers = {name: node for node in graph.node for name in node.output}
    assert sorted(node.name for node in products) == sorted(calibrated.layers)
    for node in products:
        assert [producers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        weight, scale, zero = (values[name] for name in producers[node.input[1]].input)
        assert (weight.dtype, zero.dtype) == (np.int8, np.int8)
        assert scale.shape == (weight.shape[0],), "one scale per channel"
        assert np.abs(weight).max() == 127
    quantisers = [node for node in graph.node if "quantizeLinear" in node.op_type.replace("Quantize", "quantize")]
    assert len(quantisers) > 2 * len(products)
    assert all((values[node.input[2]] == 0).all() and values[node.input[2]].dtype == np.int8 for node in quantisers)


def test_layers_that_are_kept(calibrated, tmp_path, reference):
    kept = calibrated.layers[:2]
    assert kept[0] == "encoder.model.conv_stem", "layers are called as in the checkpoint"
    quantise(calibrated, tmp_path / "q.onnx", keep=kept)
    graph = onnx.load(tmp_path / "q.onnx").graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    exact = [
        node.name for node in graph.node if node.op_type == "Conv" and weights.get(node.input[1]) == TensorProto.FLOAT
    ]
    assert sorted(exact) == sorted(kept)
    images = np.stack(reference.samples.images[:1])
    graphs = (calibrated.graph, tmp_path / "q.onnx", _all(calibrated))
    unchanged, some, none = (run_logits(path, images) for path in graphs)
    assert np.abs(some - unchanged).mean() > 0
    assert not np.array_equal(some, none)


def test_layers_are_ranked_by_the_harm_they_do(calibrated, reference, monkeypatch):
    few = calibrated.layers[:1] + calibrated.layers[-2:]
    monkeypatch.setattr(type(calibrated), "layers", property(lambda self: few))
    errors = rank_layers(calibrated, run_logits, np.stack(reference.samples.images[:1]))
    assert set(errors) == set(few)
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    assert all(0 < error < 1 for error in errors.values())


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_other_calibrations_cut_ranges(calibrated, traced, reference, tmp_path, method):
    (tmp_path / "t.onnx").write_bytes(traced.read_bytes())
    other = calibrate(tmp_path / "t.onnx", [image[None] for image in reference.samples.images[:3]], method)
    assert other.ranges.read_text() != calibrated.ranges.read_text()
    quantise(other, tmp_path / "q.onnx")
    files = [onnx.load(path).graph.initializer for path in (tmp_path / "q.onnx", _all(calibrated))]
    scales = [{t.name: float(numpy_helper.to_array(t).max()) for t in f if t.name.endswith("_scale")} for f in files]
    assert set(scales[0]) == set(scales[1])
    assert all(scales[0][name] <= 1.01 * scales[1][name] for name in scales[0])
    assert any(scales[0][name] < scales[1][name] for name in scales[0])


def test_search_is_bounded():
    assert steps(67) == [0, 1, 2, 4, 8, 16, 32]
    assert steps(1) == [0]


def test_wrong_requests(traced):
    with pytest.raises(SettingsError, match="allowed are minmax, entropy, percentile"):
        calibrate(traced, [np.zeros((1, 32, 64, 3), np.uint8)], "guess")
    with pytest.raises(SettingsError, match="--calibrate DIR"):
        calibrate(traced, [], "minmax")


def _all(calibrated):
    path = calibrated.graph.with_name("all.onnx")
    if not path.exists():
        quantise(calibrated, path)
    return path
