"""First weights from files as smp, DDP, torch.compile and Lightning write them, or one line that says why not."""

import argparse
import hashlib
import json
from dataclasses import replace

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from zodi.data import open_dataset
from zodi.errors import ModelError, OutputError, SettingsError
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.first_net import first_net
from zodi.segmenter.train import train


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


@pytest.fixture(scope="module")
def theirs():
    """The state dict of the library's own net."""
    torch.manual_seed(7)
    net = smp.create_model("deeplabv3plus", "tu-test_efficientnet", None, 3, 19, decoder_channels=16)
    return net.state_dict()


def before(head, state):
    return {head + name: tensor for name, tensor in state.items()}


FORMS = {
    "smp": lambda state: state,
    "DDP": lambda state: before("module.", state),
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model of DDP": lambda state: {"model": before("module.", state), "optimizer": {"state": {}}, "best": 0.5},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "compiled DDP": lambda state: before("module._orig_mod.", state),
    "Lightning": lambda state: {
        "state_dict": {"mean": torch.zeros(3), **before("model.", state), "loss_fn.weight": torch.ones(19)},
        "pytorch-lightning_version": "2.4.0",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_other_programs_are_the_first_weights(data, quick, theirs, tmp_path, form):
    path = tmp_path / "x.pth"
    torch.save(FORMS[form](theirs), path)
    net = first_net(open_dataset(None, data), quick, path)[0]
    assert net.state_dict().keys() == theirs.keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_the_module_itself_and_files_without_counters(data, quick, theirs, tmp_path):
    old = {name: tensor for name, tensor in theirs.items() if not name.endswith("num_batches_tracked")}
    save_file(before("module.", old), tmp_path / "x.safetensors")
    net = first_net(open_dataset(None, data), quick, tmp_path / "x.safetensors")[0]
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in old.items())


def test_a_training_from_a_file_knows_it_again(data, quick, theirs, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(before("module.", theirs), path)
    still = replace(quick, lr=1e-9, lr_floor=0.0, weight_decay=0.0, ema=0.0)
    run(data, tmp_path / "out", still, init=path)
    for name, parameter in load_checkpoint(tmp_path / "out").net.named_parameters():
        assert torch.allclose(parameter, theirs[name], atol=1e-6), name
    settings = json.loads((tmp_path / "out/train.json").read_text())["settings"]
    assert settings["init"] == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert run(data, tmp_path / "out", still, init=path).finished
    torch.save(theirs, path)
    with pytest.raises(OutputError, match="init"):
        run(data, tmp_path / "out", still, init=path)


def of_other_classes(state):
    return state | {
        "segmentation_head.0.weight": torch.zeros(21, 16, 1, 1),
        "segmentation_head.0.bias": torch.zeros(21),
    }


WRONG = {
    "other classes": (of_other_classes, r"2 of \d+ of another shape \(e\.g\. segmentation_head\.0\.\w+\), there \(21"),
    "no head": (
        lambda state: {name: t for name, t in state.items() if not name.startswith("segmentation_head")},
        r"2 of \d+ missing \(e\.g\. segmentation_head\.0\.weight\)",
    ),
    "more": (lambda state: state | {"aux.weight": torch.zeros(2)}, r"1 of \d+ unknown \(e\.g\. aux\.weight\)"),
    "another net": (lambda state: {"backbone.weight": torch.zeros(3)}, r"missing .* unknown \(e\.g\. backbone\.weight"),
    "two nets": (
        lambda state: before("model.", state) | before("ema_model.", state),
        r"holds several nets \(model\., ema_model\.\): save the state_dict\(\) of one alone",
    ),
    "objects": (
        lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1)},
        r"holds argparse\.Namespace, and only tensors are opened: save the state_dict\(\) alone",
    ),
    "no state dict": (lambda state: {"epoch": 3}, r"holds no state dict: save the state_dict\(\) alone"),
    "empty": (lambda state: {}, r"missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_line(data, quick, theirs, tmp_path, case):
    make, message = WRONG[case]
    torch.save(make(theirs), tmp_path / "x.pth")
    with pytest.raises(ModelError, match=message) as error:
        run(data, tmp_path / "out", quick, init=tmp_path / "x.pth")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_advice_names_what_the_weights_are_of(data, quick, theirs, tmp_path):
    torch.save(theirs, tmp_path / "x.pth")
    other = replace(quick, architecture="fpn", options={})
    with pytest.raises(ModelError, match=r"do not fit fpn on tu-test_efficientnet: .* give the --architecture, --enc"):
        run(data, tmp_path / "out", other, init=tmp_path / "x.pth")


def test_weights_of_the_output_itself(data, quick, tmp_path):
    run(data, tmp_path / "out", quick)
    with pytest.raises(SettingsError, match=r"is of the output .* itself"):
        run(data, tmp_path / "out", quick, init=tmp_path / "out/model.safetensors", restart=True)
    again = replace(quick, epochs=1)
    assert run(data, tmp_path / "other", again, init=tmp_path / "out/model.safetensors").finished
