"""Checkpoint directories: what is saved is what is loaded, and nothing else is."""

import json

import pytest
import torch

from zodi.errors import ModelError
from zodi.segmenter.checkpoint import load_checkpoint, read_info, save_checkpoint


def edit(directory, **changes):
    path = directory / "model.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_round_trip(checkpoint, tmp_path):
    first = load_checkpoint(checkpoint)
    assert not first.net.training
    save_checkpoint(tmp_path / "again", first.net.state_dict(), first.info)
    second = load_checkpoint(tmp_path / "again")
    assert second.info == first.info
    assert (tmp_path / "again/model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    images = torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(first.net(images), second.net(images))


def test_description_has_the_documented_keys(checkpoint):
    content = json.loads((checkpoint / "model.json").read_text())
    assert sorted(content) == sorted(
        ["architecture", "encoder", "options", "classes", "palette", "ignore", "mean", "std", "size", "resize"]
    )
    assert content["classes"][13] == "car"
    assert content["palette"][13] == [0, 0, 142]
    assert content["size"] == [32, 64]


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_missing_file(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: no such file: a checkpoint is a directory with"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"note": "mine"}, "unknown key 'note'"),
        ({"std": None}, "no key 'std'"),
        ({"size": "large"}, "wrong form"),
        ({"mean": [0.5]}, "wrong form"),
        ({"resize": "bicubic"}, "unknown resize kernel 'bicubic'"),
        ({"palette": [[0, 0, 0]]}, "19 classes and 1 colours"),
        ({"encoder": "resnt"}, "unknown encoder"),
        ({"encoder": "tu-test_efficientnet_evos"}, r"the weights (lack|have)"),
    ],
)
def test_wrong_description(checkpoint, changes, message):
    edit(checkpoint, **changes)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(checkpoint)


def test_class_count(checkpoint):
    info = read_info(checkpoint)
    edit(checkpoint, classes=list(info.classes[:11]), palette=[list(c) for c in info.palette[:11]])
    with pytest.raises(ModelError, match=r"lists 11 classes \(11 logits\), the weights have 19 logits"):
        load_checkpoint(checkpoint)


def test_unknown_and_missing_tensors(checkpoint, tmp_path):
    segmenter = load_checkpoint(checkpoint)
    weights = dict(segmenter.net.state_dict())
    save_checkpoint(tmp_path / "more", weights | {"stray": torch.zeros(1)}, segmenter.info)
    with pytest.raises(ModelError, match=r"unknown tensor stray \(1 in all\)"):
        load_checkpoint(tmp_path / "more")
    name = sorted(weights)[5]
    weights.pop(name)
    save_checkpoint(tmp_path / "less", weights, segmenter.info)
    with pytest.raises(ModelError, match=rf"lack {name} \(1 in all\)"):
        load_checkpoint(tmp_path / "less")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(checkpoint, keep):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors: is damaged"):
        load_checkpoint(checkpoint)


def test_void_logit_is_part_of_the_net_not_of_the_classes(checkpoint, tmp_path):
    from dataclasses import replace

    from zodi.segmenter.nets import build_net
    from zodi.segmenter.predict import forward

    info = read_info(checkpoint)
    info = replace(info, options={**info.options, "void_logit": True})
    net = build_net(info.architecture, info.encoder, 19, options=info.options).net
    save_checkpoint(tmp_path / "twenty", net.state_dict(), info)
    loaded = load_checkpoint(tmp_path / "twenty")
    assert loaded.info.logits == 20
    assert loaded.net(torch.randn(1, 3, 32, 64)).shape[1] == 20
    assert forward(loaded, torch.randn(1, 3, 32, 64)).shape[1] == 19
