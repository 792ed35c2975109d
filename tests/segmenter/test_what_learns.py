"""Slower encoders, warm-up, frozen parts, scale: what moves, how fast, and bit for bit again after a kill."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from interrupt import Killed, kill_after
from synthetic import make_synthetic

from zodi.adapt.settings import AdaptSettings
from zodi.adapt.train import adapt
from zodi.data import open_dataset
from zodi.errors import SettingsError
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.first_net import first_net
from zodi.segmenter.loop import make_optimizer
from zodi.segmenter.schedule import learning_rate
from zodi.segmenter.settings import make_settings
from zodi.segmenter.train import train


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def rows(output):
    return list(csv.DictReader((output / "train.csv").open()))


@pytest.fixture
def first(data, quick):
    """The first weights of a training with the settings `quick`."""
    return first_net(open_dataset(None, data), quick, None)[0].state_dict()


def changed(first, output):
    """Names of the tensors that a training changed."""
    last = load_checkpoint(output).net.state_dict()
    return {name for name, tensor in first.items() if not torch.equal(tensor, last[name])}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_encoder_at_a_tenth(data, quick, first, tmp_path, optimizer):
    """One step without weight decay: of SGD the difference is the rate times the gradient, of AdamW about the rate."""
    settings = replace(
        quick, optimizer=optimizer, epochs=None, iterations=1, weight_decay=0.0, momentum=0.0, ema=0.0, lr=0.01
    )
    moved = {}
    for factor in (1.0, 0.1):
        run(data, tmp_path / str(factor), replace(settings, encoder_lr=factor))
        last = load_checkpoint(tmp_path / str(factor)).net
        moved[factor] = {name: (p - first[name]).norm().item() for name, p in last.named_parameters()}
    for name, whole in moved[1.0].items():
        assert whole > 0, name
        expected = 0.1 if name.startswith("encoder.") else 1.0
        assert moved[0.1][name] / whole == pytest.approx(expected, rel=1e-2), name
    row = rows(tmp_path / "0.1")[0]
    assert float(row["encoder_lr"]) == pytest.approx(0.1 * float(row["lr"]))
    assert "encoder_lr" not in rows(tmp_path / "1.0")[0]


def test_one_group_of_parameters_as_before(data, quick):
    net = first_net(open_dataset(None, data), quick, None)[0]
    assert [len(group["params"]) for group in make_optimizer(net, quick).param_groups] == [len([*net.parameters()])]


def test_warm_up():
    settings = make_settings(lr=0.1, iterations=10, warmup=4)
    plain = replace(settings, warmup=0)
    rates = [learning_rate(settings, step, 3, 10) for step in range(10)]
    expected = [learning_rate(plain, step, 3, 10) * min(1.0, (step + 1) / 4) for step in range(10)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert rates[0] == pytest.approx(0.025) and max(rates) == rates[3]


def test_a_frozen_encoder_stays_bit_for_bit(data, quick, first, tmp_path):
    run(data, tmp_path / "out", replace(quick, freeze=("encoder",)))
    moved = changed(first, tmp_path / "out")
    assert moved and not any(name.startswith("encoder.") for name in moved)
    assert moved >= {name for name in first if name.startswith(("decoder.", "segmentation_head."))}
    assert {float(row["encoder_lr"]) for row in rows(tmp_path / "out")} == {0.0}


def test_frozen_statistics_stay_and_weights_do_not(data, quick, first, tmp_path):
    run(data, tmp_path / "out", replace(quick, freeze=("norm-statistics",)))
    of_norms = {name for name in first if "running_" in name or name.endswith("num_batches_tracked")}
    assert len(of_norms) > 20
    assert changed(first, tmp_path / "out") == first.keys() - of_norms


def test_one_image_per_step_where_statistics_are_frozen(data, quick, tmp_path):
    """Batch norm needs two images only where it takes their statistics."""
    with pytest.raises(SettingsError, match=r"larger --batch, or --freeze norm-statistics"):
        run(data, tmp_path / "a", replace(quick, batch=1))
    assert run(data, tmp_path / "b", replace(quick, batch=1, epochs=1, freeze=("norm-statistics",))).finished


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_lr": 0.1, "warmup": 4},
        {"freeze": ("encoder",), "optimizer": "sgd"},
        {"freeze": ("norm-statistics",)},
        {"scale": (0.5, 2.0)},
    ],
    ids=str,
)
def test_killed_and_resumed(data, quick, tmp_path, options):
    settings = replace(quick, **options)
    run(data, tmp_path / "whole", settings)
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", settings, save_every=1, stopped=kill_after(4))
    run(data, tmp_path / "cut", settings, save_every=1)
    for name in ("model.safetensors", "train.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder_lr": 0.0}, "it must be above 0; freeze the encoder"),
        ({"warmup": -1}, "warmup is -1"),
        ({"freeze": ("decoder",)}, "freeze has 'decoder', allowed are encoder, norm-statistics"),
        ({"freeze": ("encoder",), "encoder_lr": 0.1}, "the encoder is frozen: give one of the two"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(SettingsError, match=message):
        make_settings(**wrong)


def test_a_warm_up_as_long_as_the_training(data, quick, tmp_path):
    with pytest.raises(SettingsError, match="warmup is 6 steps, the training has 6: use fewer"):
        run(data, tmp_path / "out", replace(quick, warmup=6))
    assert not (tmp_path / "out").exists()


def test_statistics_cannot_be_frozen_and_taken_anew(data, quick, tmp_path):
    settings = replace(quick, freeze=("norm-statistics",))
    with pytest.raises(SettingsError, match="takes anew: use --norm-statistics both"):
        adapt(open_dataset(None, data), [], tmp_path / "a", settings, AdaptSettings(), device="cpu")


def test_pairs_with_a_frozen_encoder_by_the_command(cli, data, quick, first, tmp_path):
    synthetic = make_synthetic(data, tmp_path / "synthetic", ("night",))
    net = ("--architecture", quick.architecture, "--encoder", quick.encoder, "--encoder-weights", "none",
        "--net-option", "decoder_channels=16", "--size", "48x96", "--crop", "32x64", "--batch", "2", "--seed", "3",
        "--epochs", "2", "--device", "cpu")  # fmt: skip
    done = cli("adapt", "--source", data, "--synthetic", synthetic, *net, "--freeze", "encoder", "--freeze",
        "norm-statistics", "--warmup", 2, "-o", tmp_path / "out")  # fmt: skip
    assert done.status == 0, done.stderr
    settings = json.loads((tmp_path / "out/train.json").read_text())["settings"]
    assert (settings["freeze"], settings["norm_statistics"]) == (["encoder", "norm-statistics"], "both")
    moved = changed(first, tmp_path / "out")
    assert moved and not any(name.startswith("encoder.") or "running_" in name for name in moved)
    assert (tmp_path / "out/curves.png").is_file()
    again = cli("adapt", "--config", tmp_path / "out/config.toml", "-o", tmp_path / "again")
    assert again.status == 0, again.stderr
    assert not changed(load_checkpoint(tmp_path / "out").net.state_dict(), tmp_path / "again")
