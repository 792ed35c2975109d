"""Nets of other kinds become graphs too: the original's two, a transformer, a light one; and in bf16."""

import numpy as np
import pytest
import torch
from torch import nn

from zodi.errors import ModelError, SettingsError
from zodi.export.acceptance import Samples, make_reference, measure, refusals
from zodi.export.half import convert_precision
from zodi.export.precision import precision_floor
from zodi.export.segmenter import SegmenterChoice, describe
from zodi.export.segmenter_files import open_graph
from zodi.export.segmenter_onnx import add_head, trace
from zodi.labels import CAMVID_11
from zodi.segmenter.checkpoint import Segmenter, SegmenterInfo, palette_of
from zodi.segmenter.nets import build_net

NETS = [
    ("deeplabv3plus-original", "resnet50", "batch"),
    ("refinenet-original", "resnet50", "batch"),
    ("fpn", "tu-tf_efficientnet_lite0", "batch"),
    ("segformer", "mit_b0", "batch"),
    ("unet", "tu-mobilenetv3_small_050", "none"),
]


def random_segmenter(architecture: str, encoder: str, size: tuple[int, int]) -> Segmenter:
    torch.manual_seed(0)
    built = build_net(architecture, encoder, 11)
    for _ in range(2):
        built.net(torch.randn(2, 3, *size))
    info = SegmenterInfo(
        architecture, encoder, {}, CAMVID_11.names, palette_of(CAMVID_11), built.mean, built.std, size
    )  # fmt: skip
    return Segmenter(built.net.eval(), info)


def noise(size: tuple[int, int]) -> Samples:
    return Samples("noise", list(np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)), None)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "encoder", "dynamic"), NETS, ids=[net[0] for net in NETS])
def test_a_net_becomes_a_graph(architecture, encoder, dynamic, tmp_path):
    segmenter = random_segmenter(architecture, encoder, (64, 96))
    file = describe(segmenter, SegmenterChoice(dynamic=dynamic, batch=(1, 2, 4), output="logits"), "")
    trace(segmenter, tmp_path / "traced.onnx", file, file.made["opset"])
    add_head(tmp_path / "traced.onnx", tmp_path / "graph.onnx", file, "logits")
    opened = open_graph(tmp_path / "graph.onnx", file)
    figures = measure(make_reference(segmenter, noise((64, 96)), file), opened.predict, opened.run_file, file)
    assert figures["miou_file"] is None
    assert refusals(figures, 0.01) == []


@pytest.mark.slow
def test_bf16_computes_what_bf16_can(segmenter, reference, tmp_path):
    file = describe(segmenter, SegmenterChoice(precision="bf16", output="logits"), "")
    assert file.made["opset"] == 22
    trace(segmenter, tmp_path / "traced.onnx", file, 22)
    convert_precision(tmp_path / "traced.onnx", tmp_path / "half.onnx", "bf16")
    add_head(tmp_path / "half.onnx", tmp_path / "graph.onnx", file, "logits")
    opened = open_graph(tmp_path / "graph.onnx", file)
    exact = make_reference(segmenter, reference.samples, file)
    figures = measure(exact, opened.predict, opened.run_file, file)
    assert 1e-4 < figures["logits_error"] < 10 * figures["logits_floor"]


def test_an_encoder_whose_size_cannot_vary(tmp_path):
    segmenter = random_segmenter("fpn", "tu-tf_efficientnet_lite0", (64, 96))
    file = describe(segmenter, SegmenterChoice(dynamic="all"), "")
    with pytest.raises(ModelError, match=r"pads its convolutions by the size of the image.*use --dynamic batch"):
        trace(segmenter, tmp_path / "traced.onnx", file, 20)


@pytest.mark.parametrize("architecture", ["pspnet", "upernet"])
def test_a_net_that_pools_to_grids_whose_size_cannot_vary(architecture, tmp_path):
    segmenter = random_segmenter(architecture, "resnet18", (64, 96))
    file = describe(segmenter, SegmenterChoice(dynamic="all"), "")
    with pytest.raises(ModelError, match=rf"{architecture} pools to grids .* use --dynamic batch"):
        trace(segmenter, tmp_path / "traced.onnx", file, 20)


@pytest.mark.parametrize(
    ("size", "other"), [((128, 256), (128, 128)), ((128, 128), (128, 256)), ((256, 512), (128, 256))]
)
def test_another_size_is_one_that_the_net_takes(size, other):
    """PAN takes nothing below 128."""
    segmenter = random_segmenter("pan", "resnet18", size)
    file = describe(segmenter, SegmenterChoice(dynamic="all", output="logits"), "")
    reference = make_reference(segmenter, noise(size), file)
    assert [images.shape[1:3] for images, _ in reference.probes] == [size, size, other]


def test_a_size_that_the_net_does_not_take():
    segmenter = random_segmenter("pan", "resnet18", (128, 128))
    with pytest.raises(SettingsError, match=r"64x128 does not fit pan on resnet18 .*, 128x128 does: .*--size"):
        describe(segmenter, SegmenterChoice(size=(64, 128)), "")


@pytest.mark.slow
def test_pan_becomes_a_graph_of_any_size(tmp_path):
    segmenter = random_segmenter("pan", "resnet18", (128, 128))
    file = describe(segmenter, SegmenterChoice(dynamic="all", output="logits"), "")
    trace(segmenter, tmp_path / "traced.onnx", file, file.made["opset"])
    add_head(tmp_path / "traced.onnx", tmp_path / "graph.onnx", file, "logits")
    opened = open_graph(tmp_path / "graph.onnx", file)
    figures = measure(make_reference(segmenter, noise((128, 128)), file), opened.predict, opened.run_file, file)
    assert refusals(figures, 0.01) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_floor_of_attention_that_reads_the_weights_of_its_parts(precision):
    """As timm's Eva does with its projection's, and torch's own with its output's: they are converted with it."""
    torch.manual_seed(0)
    eva = build_net(
        "dpt", "tu-eva02_tiny_patch14_224", 5, options={"patch_size": 16, "dynamic_img_size": True}
    ).net.eval()
    own = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    own.self_attn.register_parameter("more", nn.Parameter(torch.zeros(1)))
    for net, images in ((eva, torch.randn(1, 3, 64, 96)), (own.requires_grad_(), torch.randn(1, 6, 16))):
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        with torch.no_grad():
            floor = precision_floor(net, [images], list(net(images)), precision)
        low, high = (1e-8, 1e-4) if precision == "fp32" else (1e-4, 1e-1)
        assert low < floor < high
        assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
