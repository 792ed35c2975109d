"""Nets: the original's sizes, one protocol for all, and errors that help."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zodi.errors import ModelError
from zodi.segmenter.nets import build_net

ORIGINALS = [
    ("deeplabv3plus-original", "resnet50", 39_761_588),
    ("deeplabv3plus-original", "resnet101", 58_753_716),
    ("refinenet-original", "resnet50", 99_058_004),
]


@pytest.mark.parametrize(("architecture", "encoder", "parameters"), ORIGINALS)
def test_the_originals_nets_have_the_originals_parameters(architecture, encoder, parameters):
    with torch.device("meta"):
        net = build_net(architecture, encoder, 19, options={"void_logit": True}).net
        outputs = net(torch.empty(2, 3, 64, 97), with_features=True)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert outputs.logits.shape == (2, 20, 64, 97)
    assert outputs.features.shape == (2, 2048, 2, 4)  # output stride 32


def test_the_originals_rates_and_dropouts():
    with torch.device("meta"):
        deeplab = build_net("deeplabv3plus-original", "resnet50", 19).net
        refinenet = build_net("refinenet-original", "resnet50", 19).net
    dilations = {m.dilation[0] for m in deeplab.modules() if isinstance(m, nn.Conv2d)}
    assert dilations == {1, 6, 12, 18}
    for net in (deeplab, refinenet):
        assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.5}
    outside = [m for name, m in refinenet.named_modules() if not name.startswith("encoder")]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in outside)


@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "stride"),
    [
        ("deeplabv3plus-original", "resnet50", {}, 32),
        ("refinenet-original", "resnet50", {}, 32),
        ("DeepLabV3Plus", "tu-test_efficientnet", {"decoder_channels": 16}, 16),
        ("Unet", "resnet18", {}, 32),
        ("FPN", "mobilenet_v2", {}, 32),
        ("Segformer", "mit_b0", {}, 32),
        ("DPT", "tu-vit_tiny_patch16_224", {"dynamic_img_size": True}, 16),
    ],
)
def test_every_net_keeps_the_protocol(architecture, encoder, options, stride):
    torch.manual_seed(0)
    net = build_net(architecture, encoder, 5, options=options).net.eval()
    images = torch.randn(1, 3, 64, 128)
    outputs = net(images, with_features=True)
    assert outputs.logits.shape == (1, 5, 64, 128)
    assert outputs.features.shape[2:] == (64 // stride, 128 // stride)
    assert 64 % net.multiple == 0
    with torch.no_grad():
        assert torch.equal(net(images), outputs.logits)
    # the features are those that the logits come from: a loss on them reaches the first layer
    first = next(net.encoder.parameters())
    (gradient,) = torch.autograd.grad(outputs.features.square().mean(), first, retain_graph=True)
    assert gradient.abs().sum() > 0
    (gradient,) = torch.autograd.grad(outputs.logits.square().mean(), first)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "message"),
    [
        ("deplab", "resnet18", {}, "did you mean .*deeplabv3plus"),
        ("unet", "resnt18", {}, "unknown encoder 'resnt18': did you mean .*resnet18"),
        ("unet", "tu-resnet10x", {}, "did you mean .*tu-resnet10t"),
        ("refinenet-original", "resnet18", {}, "allowed are resnet50, resnet101, resnet152"),
        ("refinenet-original", "resnet50", {"rates": [1]}, "no option 'rates'"),
        ("unet", "resnet18", {"decoder_width": 3}, "no option 'decoder_width': allowed are .*decoder_channels"),
        ("unet", "tu-test_efficientnet", {"decoder_width": 3}, "unet cannot be built with .* and options"),
        ("pan", "resnet18", {"encoder_output_stride": 7}, "pan cannot be built"),
    ],
)
def test_wrong_names_are_answered_with_right_ones(architecture, encoder, options, message):
    with pytest.raises(ModelError, match=message):
        build_net(architecture, encoder, 5, options=options)


def test_imagenet_weights_offline_say_how_to_go_on(monkeypatch):
    import segmentation_models_pytorch as smp

    def offline(*arguments, **options):
        raise ConnectionError("no route to the hub\nand a second line")

    monkeypatch.setattr(smp, "create_model", offline)
    with pytest.raises(ModelError, match=r"cannot be downloaded \(no route to the hub\): give the path .*PATH"):
        build_net("unet", "resnet18", 5, encoder_weights="imagenet")


def test_encoder_weights_from_a_file(tmp_path, tiny):
    torch.manual_seed(1)
    given = build_net(tiny["architecture"], tiny["encoder"], 5, options=tiny["options"]).net.encoder
    bare = {name.removeprefix("model."): tensor for name, tensor in given.state_dict().items()}
    save_file(bare | {"classifier.weight": torch.zeros(3, 4)}, tmp_path / "timm.safetensors")  # timm's own names
    torch.save({"state_dict": given.state_dict()}, tmp_path / "own.pth")
    for name in ("timm.safetensors", "own.pth"):
        torch.manual_seed(2)
        net = build_net(
            tiny["architecture"], tiny["encoder"], 5, options=tiny["options"], encoder_weights=str(tmp_path / name)
        ).net
        for key, tensor in net.encoder.state_dict().items():
            assert torch.equal(tensor, given.state_dict()[key]), key


def test_encoder_weights_that_do_not_fit_are_counted(tmp_path, tiny):
    with torch.device("cpu"):
        weights = build_net(tiny["architecture"], tiny["encoder"], 5, options=tiny["options"]).net.encoder.state_dict()
    names = [name for name in weights if name.endswith("weight")]
    weights["extra"] = torch.zeros(1)
    del weights[names[3]]
    weights[names[5]] = torch.zeros(2, 2)
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(ModelError) as error:
        build_net(
            tiny["architecture"], tiny["encoder"], 5, options=tiny["options"], encoder_weights=str(tmp_path / "bad.pth")
        )
    assert f"1 of {len(weights)} missing (e.g. {names[3]})" in str(error.value)
    assert f"1 of {len(weights)} unknown (e.g. extra)" in str(error.value)
    assert f"1 of {len(weights)} of another shape (e.g. {names[5]})" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_weight_files(tmp_path, tiny, content, suffix):
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged"):
        build_net(tiny["architecture"], tiny["encoder"], 5, options=tiny["options"], encoder_weights=str(path))
