"""Rare-class sampling: DAFormer's probabilities, drawn alike by every process and after every resume."""

import collections
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_street
from interrupt import Killed, kill_after
from PIL import Image
from synthetic import make_synthetic

from zodi.adapt.loading import PairBatches
from zodi.adapt.pairs import find_pairs
from zodi.data import open_dataset
from zodi.errors import SettingsError
from zodi.segmenter.loading import SourceBatches, augment
from zodi.segmenter.rare_classes import rare_classes
from zodi.segmenter.settings import make_settings
from zodi.segmenter.train import train


class Form:
    mean = std = (0.5, 0.5, 0.5)


COUNTS = np.array([[900, 100, 0, 0], [950, 0, 50, 0], [1000, 0, 0, 0], [800, 190, 10, 0]])


@pytest.fixture
def town(tmp_path):
    """Eight images of road and building; the third has a car of 8x16 pixels in a corner."""
    root = make_street(tmp_path / "town", count=8)
    for i in range(8):
        ids = np.full((48, 96), 7, np.uint8)
        ids[:24] = 11
        if i == 2:
            ids[:8, :16] = 26
        Image.fromarray(ids).save(root / f"labels/a/{i}.png")
    return root


@pytest.fixture
def seldom(quick):
    """Settings that draw images by class."""
    return replace(quick, rare_class_sampling=0.05, rare_class_pixels=20)


def batches(data, settings, epoch=0, first=0, **options):
    rare = rare_classes(np.array([[0] * 19] * 2 + [[1] * 19] + [[1, 0, 1] + [0] * 16] * 5), 0.05, 1)
    return list(SourceBatches(open_dataset(None, data), settings, Form(), rare=rare, **options)(epoch, first))


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in ("image", "label"))


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_probabilities_are_those_of_the_paper(temperature):
    """Equation 7 and 8, written out; a class without a pixel is never drawn."""
    shares = np.array([3650, 290, 60]) / 4000
    powers = np.exp((1 - shares) / temperature)
    found = rare_classes(COUNTS, temperature, 1)
    assert found.probabilities == pytest.approx([*(powers / powers.sum()), 0.0])
    assert np.isfinite(rare_classes(COUNTS, 1e-6, 1).probabilities).all()


def test_images_have_enough_of_the_class():
    assert [list(images) for images in rare_classes(COUNTS, 0.01, 1).images] == [[0, 1, 2, 3], [0, 3], [1, 3], []]
    assert [list(images) for images in rare_classes(COUNTS, 0.01, 60).images] == [[0, 1, 2, 3], [0, 3], [1, 3], []]
    assert [list(images) for images in rare_classes(COUNTS, 0.01, 150).images][1] == [3]


def test_draws_follow_the_probabilities():
    sampler = rare_classes(COUNTS, 0.5, 1)
    drawn = sampler.epoch(0, 0, 20000)
    assert all(COUNTS[draw.index, draw.wanted] > 0 for draw in drawn)
    assert [draw.number for draw in drawn] == list(range(20000))
    counted = np.bincount([draw.wanted for draw in drawn], minlength=4) / 20000
    assert counted == pytest.approx(sampler.probabilities, abs=0.015)
    of_first = collections.Counter(draw.index for draw in drawn if draw.wanted == 0)
    assert len(of_first) == 4 and max(of_first.values()) < 1.1 * min(of_first.values())
    assert drawn == sampler.epoch(0, 0, 20000)
    assert drawn != sampler.epoch(0, 1, 20000) and drawn != sampler.epoch(1, 0, 20000)


def test_crops_have_the_wanted_class(seldom):
    """A corner that few crops have, as chance goes; of ten crops mostly one."""
    label = np.zeros((48, 96), np.uint8)
    label[:8, :16] = 13
    image = np.zeros((48, 96, 3), np.uint8)
    rngs = [np.random.default_rng(seed) for seed in range(100)]
    wanted = sum((augment(rng, (image, label), seldom, 13)[1] == 13).sum() >= 10 for rng in rngs)
    plain = sum((augment(np.random.default_rng(i), (image, label), seldom)[1] == 13).sum() >= 10 for i in range(100))
    assert plain < 25 and wanted > 75
    lacking = augment(np.random.default_rng(0), (image, 0 * label), seldom, 13)[1]
    assert np.array_equal(lacking, augment(np.random.default_rng(0), (image, 0 * label), seldom)[1])


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_batches_are_the_same_for_any_number_of_processes_and_workers(town, seldom, scale):
    settings = replace(seldom, scale=scale)
    whole = batches(town, settings, workers=1)
    assert len(whole) == 4
    halves = [batches(town, settings, workers=3, process=i, processes=2) for i in range(2)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert equal(batch, {name: torch.cat([first[name], second[name]]) for name in batch})
    assert equal(batches(town, settings, epoch=1)[2], batches(town, settings, epoch=1, first=2)[0])


def test_an_image_that_is_drawn_twice_is_not_the_same_twice(town, seldom):
    crops = [image for batch in batches(town, seldom) for image in batch["image"]]
    assert len({crop.numpy().tobytes() for crop in crops}) == len(crops)


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def test_the_car_is_seen_and_what_is_drawn_is_told(town, seldom, quick, tmp_path):
    told = []
    settings = replace(seldom, rare_class_sampling=0.01, epochs=1)
    run(town, tmp_path / "out", settings, notify=told.append)
    assert told[0] == "counting the pixels of each class in 8 labels"
    assert told[1].startswith("images are drawn by class, in %: road ") and ", car 1e+02," in told[1]


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_killed_and_resumed(town, seldom, tmp_path, scale):
    settings = replace(seldom, scale=scale)
    run(town, tmp_path / "whole", settings)
    with pytest.raises(Killed):
        run(town, tmp_path / "cut", settings, save_every=1, stopped=kill_after(6))
    run(town, tmp_path / "cut", settings, save_every=1)
    for name in ("model.safetensors", "train.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    run(town, tmp_path / "plain", replace(settings, rare_class_sampling=0.0, rare_class_pixels=None))
    assert (tmp_path / "plain/train.csv").read_text() != (tmp_path / "whole/train.csv").read_text()


def test_pairs_stay_together(town, seldom, tmp_path):
    """The partner of an image shows the same crop; here its colours are a function of the label."""
    output = make_synthetic(town, tmp_path / "synthetic", ("night", "fog"))
    dataset = open_dataset(None, town)
    rare = rare_classes(np.array([[1] * 19] * 8), 0.05, 1)
    settings = replace(seldom, jitter=False, noise=False)
    pairs = find_pairs(dataset, [output])
    whole = list(PairBatches(dataset, pairs, settings, Form(), rare=rare)(0, 0))
    halves = [list(PairBatches(dataset, pairs, settings, Form(), rare=rare, process=i, processes=2)(0, 0))
              for i in range(2)]  # fmt: skip
    for batch, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(batch["label"], batch["synthetic_label"])
        assert all(torch.equal(batch[name], torch.cat([first[name], second[name]])) for name in batch)


def test_pixels_that_are_not_given(quick):
    """DAFormer's 3000 of GTA5's images, in proportion."""
    assert make_settings(rare_class_sampling=0.01, size=(1052, 1914)).resolved((1, 1)).rare_class_pixels == 3000
    assert replace(quick, rare_class_sampling=0.01).resolved((48, 96)).rare_class_pixels == 7
    assert quick.resolved((48, 96)).rare_class_pixels is None


@pytest.mark.parametrize(
    "wrong",
    [{"rare_class_sampling": -0.1}, {"rare_class_pixels": 5}, {"rare_class_pixels": 0, "rare_class_sampling": 1}],
)
def test_wrong_settings(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        make_settings(**wrong)


def test_the_command(cli, town, quick, tmp_path):
    net = ("--architecture", quick.architecture, "--encoder", quick.encoder, "--encoder-weights", "none",
        "--net-option", "decoder_channels=16", "--size", "48x96", "--crop", "32x64", "--batch", "2", "--device", "cpu",
        "--iterations", 2)  # fmt: skip
    done = cli("adapt", "--source", town, "--baseline", "augment", *net, "--rare-class-sampling", 0.01,
        "-o", tmp_path / "out")  # fmt: skip
    assert done.status == 0, done.stderr
    settings = json.loads((tmp_path / "out/train.json").read_text())["settings"]
    assert (settings["rare_class_sampling"], settings["rare_class_pixels"]) == (0.01, 7)
    again = cli("adapt", "--config", tmp_path / "out/config.toml", "-o", tmp_path / "again")
    assert again.status == 0, again.stderr
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again"))
    assert first == second
