"""Where there is nothing to learn or to score, that is said; and a batch of void alone changes nothing."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_street
from nets import TINY
from PIL import Image

from zodi import strict_json
from zodi.data import open_dataset
from zodi.errors import DataError, SettingsError
from zodi.labels import LabelClass, LabelSet
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.evaluate import evaluate
from zodi.segmenter.loop import fit
from zodi.segmenter.nets import build_net
from zodi.segmenter.processes import make_accelerator
from zodi.segmenter.settings import make_settings
from zodi.segmenter.train import source_loss, train

VOID_ID, ROAD, SKY = 4, 7, 23  # of Cityscapes


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def paint(data, *ids):
    """Labels of stripes of these ids."""
    for path in (data / "labels").rglob("*.png"):
        width, height = Image.open(path).size
        label = np.repeat(np.array(ids, np.uint8), -(-width // len(ids)))[:width]
        Image.fromarray(np.tile(label, (height, 1))).save(path)
    return data


def test_labels_that_are_all_void(data, quick, checkpoint, tmp_path):
    paint(data, VOID_ID)
    with pytest.raises(DataError, match="no pixel of a trained class, all are void: check --labels and --label-set"):
        run(data, tmp_path / "out", quick)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="all are void"):
        evaluate(load_checkpoint(checkpoint), [open_dataset(None, data)])


def test_one_set_of_two_that_is_void_is_found_before_the_other_is_scored(data, checkpoint, tmp_path):
    void = paint(make_street(tmp_path / "void", count=2), VOID_ID)
    scored = []
    with pytest.raises(DataError, match=rf"{void}: has no pixel"):
        evaluate(
            load_checkpoint(checkpoint),
            [open_dataset(None, data), open_dataset(None, void)],
            on_progress=lambda *progress: scored.append(progress),
        )
    assert not scored


def test_one_class_in_the_labels(data, quick, tmp_path):
    paint(data, ROAD, VOID_ID)
    with pytest.raises(DataError, match="one class alone, 'road', and nothing to tell it from"):
        run(data, tmp_path / "out", quick)
    run(paint(data, ROAD, SKY), tmp_path / "out", quick)


def test_one_class_in_the_label_set(data, quick, checkpoint, tmp_path):
    road = LabelSet(
        "road", (LabelClass("rest", 4, 255, (0, 0, 0), "road"), LabelClass("road", 7, 0, (1, 1, 1), "road"))
    )
    dataset = replace(open_dataset(None, data), label_set=road, unknown_ids_are_void=True)
    message = "label set 'road' has one trained class, 'road': every prediction would be right"
    with pytest.raises(DataError, match=message):
        train(dataset, tmp_path / "out", quick, device="cpu")
    assert not (tmp_path / "out").exists()
    segmenter = load_checkpoint(checkpoint)
    of_one = replace(segmenter, info=replace(segmenter.info, classes=("road",)))
    with pytest.raises(DataError, match=message):
        evaluate(of_one, [dataset])


def test_valid_pixels_that_no_crop_has(data, quick, tmp_path):
    """Two classes in the corners, which crops of the middle never see."""
    label = np.full((48, 96), VOID_ID, np.uint8)
    label[0, 0], label[0, -1] = ROAD, SKY
    for path in (data / "labels").rglob("*.png"):
        Image.fromarray(label).save(path)
    settings = replace(quick, epochs=None, iterations=2, seed=1)
    with pytest.raises(DataError, match="every crop of every step: has no pixel of a trained class"):
        run(data, tmp_path / "out", settings)
    assert not (tmp_path / "out/model.json").exists()


class Form:
    mean = std = (0.5, 0.5, 0.5)


class Fixed:
    """An epoch of given labels (h, w), each a batch of two, on noise."""

    def __init__(self, *labels):
        self.labels, self.steps = labels, len(labels)

    def __call__(self, epoch, first):
        for number in range(first, self.steps):
            generator = torch.Generator().manual_seed(number)
            image = torch.randn(2, 3, 32, 64, generator=generator)
            yield {"image": image, "label": self.labels[number].expand(2, 32, 64).clone()}


def learn(directory, batches, settings):
    directory.mkdir()
    torch.manual_seed(0)
    net = build_net(TINY["architecture"], TINY["encoder"], 5, options=TINY["options"]).net
    return fit(net, source_loss, batches, settings, directory, make_accelerator(settings, "cpu"))


def test_a_batch_of_void_alone_changes_nothing(tmp_path):
    """Not the weights, by decay and moments, nor batch norm's statistics, nor the averages; nor is it in the log."""
    good, void = torch.zeros(32, 64, dtype=torch.int64), torch.full((32, 64), 255)
    good[:, 32:] = 3
    settings = make_settings(**TINY, size=(32, 64), crop=(32, 64), iterations=3, batch=2, lr=1e-2)
    with_void = learn(tmp_path / "void", Fixed(good, void, good), settings)
    rows = list(csv.DictReader((tmp_path / "void/train.csv").open()))
    assert [row["step"] for row in rows] == ["1", "3"]
    assert all(torch.isfinite(tensor).all() for tensor in with_void.values())
    counted = [tensor.item() for name, tensor in with_void.items() if name.endswith("num_batches_tracked")]
    assert counted
    assert set(counted) == {2}
    for ema in (0.0, 0.999):
        one = learn(tmp_path / f"one-{ema}", Fixed(good), replace(settings, ema=ema, iterations=1))
        two = learn(tmp_path / f"two-{ema}", Fixed(good, void), replace(settings, ema=ema, iterations=2, power=0.0))
        for name, tensor in one.items():
            assert torch.equal(tensor, two[name]), name


def test_skipped_steps_are_told(data, quick, cli, tmp_path):
    """Labels whose left half is void: some crops have nothing else."""
    for path in (data / "labels").rglob("*.png"):
        label = np.full((48, 96), VOID_ID, np.uint8)
        label[:, 90:93], label[:, 93:] = ROAD, SKY
        Image.fromarray(label).save(path)
    net = ("--architecture", "deeplabv3plus", "--encoder", "tu-test_efficientnet", "--encoder-weights", "none",
           "--net-option", "decoder_channels=16", "--size", "48x96", "--crop", "32x32", "--batch", "2")  # fmt: skip
    done = cli("adapt", "--root", data, *net, "--epochs", 4, "-o", tmp_path / "out", "--device", "cpu", "--json", "-")
    assert done.status == 0, done.stderr
    logged = len((tmp_path / "out/train.csv").read_text().splitlines()) - 1
    content = json.loads(done.stdout)
    assert content["skipped"] == content["steps"] - logged == 12 - logged
    assert 0 < content["skipped"] < 12
    assert f"{content['skipped']} steps changed nothing: the labels in their crops are void everywhere" in done.stderr


def test_json_never_holds_nan():
    content = {"a": float("nan"), "b": [np.float64("inf"), (1.5, -0.0)], "c": {"d": float("-inf")}, "e": "ü"}
    assert json.loads(strict_json.dumps(content)) == {"a": None, "b": [None, [1.5, 0.0]], "c": {"d": None}, "e": "ü"}
    assert "ü" in strict_json.dumps(content)


@pytest.mark.parametrize("wrong", [{"lr": float("inf")}, {"weight_decay": float("nan")}, {"power": float("inf")}])
def test_settings_are_finite(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        make_settings(**wrong)
