"""Each net says what it can take, before the first step, and is asked without data."""

import re
import time
from dataclasses import replace

import pytest
import torch
from conftest import make_street
from torch import nn

from zodi.adapt.objective import make_pair_loss
from zodi.data import open_dataset
from zodi.errors import ModelError, SettingsError
from zodi.export.segmenter import SegmenterChoice, describe
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import Segmenter, SegmenterInfo, load_checkpoint, palette_of
from zodi.segmenter.evaluate import EvaluateSettings, evaluate
from zodi.segmenter.nets import build_net
from zodi.segmenter.predict import PredictSettings
from zodi.segmenter.probe import Probe
from zodi.segmenter.settings import make_settings
from zodi.segmenter.train import source_loss, train

VIT = "tu-vit_tiny_patch16_224"


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def segmenter_of(architecture, encoder, **options):
    torch.manual_seed(0)
    built = build_net(architecture, encoder, 19, options=options)
    info = SegmenterInfo(
        architecture, encoder, options, CITYSCAPES_19.names, palette_of(CITYSCAPES_19), built.mean, built.std, (48, 96)
    )
    return Segmenter(built.net.eval(), info)


@pytest.mark.parametrize(
    ("net", "crop", "message"),
    [
        (("pan", "resnet18", {}), (96, 192), r"crop 96x192 does not fit pan on resnet18 \(.*\): use --crop 128x192"),
        (("unet", "mit_b0", {}), (16, 16), r"does not fit unet on mit_b0 \(.*\): use --crop 32x32"),
        (("dpt", VIT, {}), (96, 192), r"does not fit dpt on .*224 \(.*\): use --crop 224x224 with as large a --size or "
                                      "--net-option dynamic_img_size=true$"),
        (("dpt", "tu-vit_small_patch14_dinov2", {}), (98, 196), "use --net-option dynamic_img_size=true "
                                                                 "--net-option patch_size=16"),
        (("dpt", "tu-vit_small_patch16_dinov3", {}), (48, 96), r"must be multiples of 32\): use --crop 64x96$"),
        (("unet", "tu-swin_tiny_patch4_window7_224", {}), (96, 192), "--net-option dynamic_img_size=true"),
        (("fpn", "tu-botnet26t_256", {}), (64, 96), r"\(AssertionError\): use --crop 256x256 with as large a --size"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value[0], str) else "",
)  # fmt: skip
def test_a_crop_that_does_not_fit(data, tmp_path, net, crop, message):
    architecture, encoder, options = net
    settings = make_settings(architecture=architecture, encoder=encoder, encoder_weights="none", options=options,
                             size=(128, 256), crop=crop, batch=2, iterations=1)  # fmt: skip
    with pytest.raises(SettingsError, match=message):
        run(data, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_what_is_advised_does_fit():
    for architecture, encoder, options, size in (
        ("pan", "resnet18", {}, (128, 192)),
        ("dpt", VIT, {"dynamic_img_size": True}, (96, 192)),
        ("dpt", "tu-vit_small_patch14_dinov2", {"dynamic_img_size": True, "patch_size": 16}, (96, 192)),
    ):
        net = build_net(architecture, encoder, 5, options=options).net.eval()
        with torch.no_grad():
            assert net(torch.zeros(1, 3, *size)).shape[-2:] == size


def test_a_probe_leaves_the_net_alone():
    torch.manual_seed(0)
    net = build_net("pan", "resnet18", 5).net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()
    probe = Probe(net)
    assert probe.refusal((64, 64), batch=2, training=True) is not None
    assert probe.refusal((128, 128), batch=2, training=True) is None
    assert probe.without_gradient(source_loss, (128, 128), batch=2) == []
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in net.parameters())
    assert net.training


def test_a_probe_costs_no_work():
    probe = Probe(build_net("deeplabv3plus-original", "resnet50", 5).net)
    start = time.process_time()
    assert probe.refusal((4096, 8192), batch=64, training=True) is None  # a real run would need terabytes
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "expected"),
    [
        ("fpn", "resnet18", {}, None),
        ("fpn", "efficientnet-b0", {}, r"encoder\._(conv_head|bn1)\."),
        ("pspnet", "resnet18", {}, r"encoder\.layer[34]\."),
        ("dpt", VIT, {"dynamic_img_size": True}, r"encoder\.model\.(norm|head)\."),
    ],
)
def test_parameters_without_gradient_are_found(architecture, encoder, options, expected):
    """Those that a real step leaves without, for images alone and for pairs."""
    net = build_net(architecture, encoder, 5, options=options).net
    for loss in (source_loss, make_pair_loss(0.1)):
        found = Probe(net).without_gradient(loss, (64, 96), batch=2)
        assert bool(found) == (expected is not None)
        outputs = net.train()(torch.randn(2, 3, 64, 96), with_features=True)
        (outputs.logits.sum() + (outputs.features.sum() if loss is not source_loss else 0)).backward()
        assert found == [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
        net.zero_grad(set_to_none=True)
    if expected is not None:
        assert all(re.match(expected, name) for name in found)


def test_a_feature_that_only_the_similarity_uses_has_a_gradient_then():
    """What the last stage gives no decoder, a loss of pairs follows."""

    class Net(nn.Module):
        multiple = 1

        def __init__(self):
            super().__init__()
            self.encoder, self.extra = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.head = nn.Conv2d(4, 5, 1)

        def forward(self, images, with_features=False):
            from zodi.segmenter.protocol import Outputs

            features = self.encoder(images)
            logits = self.head(features)
            return Outputs(logits, self.extra(features)) if with_features else logits

    probe = Probe(Net())
    assert probe.without_gradient(source_loss, (8, 8), batch=2) == ["extra.weight", "extra.bias"]
    assert probe.without_gradient(make_pair_loss(0.1), (8, 8), batch=2) == []


# --- whole images


def test_validation_needs_whole_images(data, tmp_path):
    from zodi.adapt.settings import AdaptSettings
    from zodi.adapt.train import adapt

    settings = make_settings(architecture="dpt", encoder=VIT, encoder_weights="none", size=(224, 448), crop=(224, 224),
                             batch=2, iterations=1)  # fmt: skip
    adapting = AdaptSettings(baseline="source-only", validate="source", holdout=0.4)
    with pytest.raises(SettingsError, match=r"whole images of 224x448, which --validate scores, do not fit dpt on"):
        adapt(open_dataset(None, data), [], tmp_path / "out", settings, adapting, device="cpu")
    assert not (tmp_path / "out").exists()


def test_windows_do_without(tmp_path):
    """A net of one size learns from crops of it, as before, and is told how it can be scored."""
    data = make_street(tmp_path / "data", count=2)
    settings = make_settings(architecture="dpt", encoder=VIT, encoder_weights="none", size=(224, 448), crop=(224, 224),
                             batch=2, iterations=1, ema=0.0)  # fmt: skip
    told = []
    assert run(data, tmp_path / "out", settings, notify=told.append).finished
    (note,) = told
    assert "takes no whole images of 224x448, only windows: evaluate with --window 224x224" in note
    segmenter, dataset = load_checkpoint(tmp_path / "out"), open_dataset(None, data)
    windows = EvaluateSettings(predict=PredictSettings(window=(224, 224)))
    assert evaluate(segmenter, [dataset], windows)[0].images == 2
    with pytest.raises(SettingsError, match=r"an image of 224x448 does not fit dpt .*: give .*--window"):
        evaluate(segmenter, [dataset])
    with pytest.raises(SettingsError, match=r"224x448 does not fit dpt on .*: give .*--size"):
        describe(segmenter, SegmenterChoice(), "")
    assert describe(segmenter, SegmenterChoice(size=(224, 224)), "").model.size == (224, 224)


def test_images_that_are_too_small_to_score(data):
    segmenter = segmenter_of("pan", "resnet18")
    with pytest.raises(SettingsError, match=r"an image of 48x96 does not fit pan on resnet18 \(.*\), 128x128 does"):
        evaluate(segmenter, [open_dataset(None, data)])
    assert evaluate(segmenter, [open_dataset(None, data)], EvaluateSettings(scale=(128, 256)))[0].images == 7


def test_other_errors_of_a_net_stay_what_they_are(data, checkpoint):
    segmenter = load_checkpoint(checkpoint)

    def broken(features):
        raise RuntimeError("a defect")

    segmenter.net.segmentation_head.forward = broken
    with pytest.raises(RuntimeError, match="a defect"):
        evaluate(segmenter, [open_dataset(None, data)])


# --- first weights of another net


@pytest.mark.parametrize(
    "other",
    [{"options": {"decoder_channels": 32}}, {"architecture": "fpn", "options": {}}, {"encoder": "resnet18"},
     {"options": {"decoder_channels": 16, "void_logit": True}}],
    ids=["width", "architecture", "encoder", "void-logit"],
)  # fmt: skip
def test_first_weights_of_another_net(data, quick, tmp_path, other):
    run(data, tmp_path / "old", quick)
    with pytest.raises(ModelError, match=r"old: is deeplabv3plus on tu-test_efficientnet.*, the net to train is .*: "
                                         "choose another --init, or give its --architecture, --encoder"):  # fmt: skip
        run(data, tmp_path / "new", replace(quick, **other), init=tmp_path / "old")
    assert not (tmp_path / "new").exists()
