"""`zodi estimate`: the score of transferred images by their sources' labels, and how sure it is."""

import json

import numpy as np
import pytest
import torch
from nets import TINY
from PIL import Image
from synthetic import make_synthetic

from zodi.adapt.estimate import bootstrap, estimate
from zodi.adapt.pairs import in_holdout
from zodi.data import open_dataset
from zodi.errors import DataError
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import SegmenterInfo, palette_of, save_checkpoint
from zodi.segmenter.metrics import count_confusion, mean_iou
from zodi.segmenter.nets import build_net


def bright_is_sky(images):
    """A judge: sky (10) where red is above 127, else road (0)."""
    ids = np.where(images[..., 0] > 127, 10, 0).astype(np.uint8)
    return ids, np.ones(ids.shape, np.float32)


def test_the_estimate_is_the_score_of_the_transferred_images(source, tmp_path):
    output = make_synthetic(source, tmp_path / "out", ("night", "snow"))
    dataset = open_dataset(None, source)
    found = estimate(bright_is_sky, dataset, [output])
    assert [row.domain for row in found] == ["night", "snow"]
    for row in found:
        counts = np.zeros((19, 19), np.int64)
        for sample in dataset.samples:
            image = np.asarray(Image.open(output / row.domain / f"{sample.key}.png"))
            truth = CITYSCAPES_19.id_to_train_id[np.asarray(Image.open(sample.label))]
            counts += count_confusion(truth, bright_is_sky(image)[0], 19)
        content = row.as_json(CITYSCAPES_19.names)
        assert content["images"] == 7
        assert content["miou"] == pytest.approx(mean_iou(counts))
        assert content["low"] <= content["miou"] <= content["high"]
        assert content["low"] < content["high"]
    assert found[0].counts.sum() == found[1].counts.sum() > 0


def test_masked_pixels_do_not_count(source, synthetic):
    dataset = open_dataset(None, source)
    before = estimate(bright_is_sky, dataset, [synthetic])[0].counts.sum()
    mask = np.zeros((48, 96), np.uint8)
    mask[:12] = 255
    path = synthetic / "masks/night/a/0.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(mask).save(path)
    truth = CITYSCAPES_19.id_to_train_id[np.asarray(Image.open(source / "labels/a/0.png"))]
    assert before - estimate(bright_is_sky, dataset, [synthetic])[0].counts.sum() == (truth[:12] != 255).sum()


def test_results_of_another_size_than_the_source(source, synthetic):
    for path in (synthetic / "night").rglob("*.png"):
        Image.open(path).resize((48, 24)).save(path)
    (row,) = estimate(bright_is_sky, open_dataset(None, source), [synthetic])
    assert 0 < row.counts.sum() <= 7 * 24 * 48


def test_holdout(source, synthetic):
    dataset = open_dataset(None, source)
    (row,) = estimate(bright_is_sky, dataset, [synthetic], holdout=0.35)
    assert len(row.counts) == sum(in_holdout(sample.key, 0.35) for sample in dataset.samples) < 7
    with pytest.raises(DataError, match="leaves no image"):
        estimate(bright_is_sky, dataset, [synthetic], holdout=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Images of one class, right with probability 0.7 per image: the interval of 100 images must cover about 95 %."""
    rng = np.random.default_rng(0)
    right, wrong = np.array([[90, 10], [10, 90]]), np.array([[40, 60], [60, 40]])
    truth = mean_iou((0.7 * right + 0.3 * wrong).astype(np.int64) * 1000)
    covered = 0
    for _ in range(100):
        counts = np.stack([right if rng.random() < 0.7 else wrong for _ in range(100)])
        low, high = bootstrap(counts, rng, 200)
        covered += low <= truth <= high
    assert 87 <= covered <= 100


def test_equal_images_have_no_interval():
    low, high = bootstrap(np.stack([np.array([[5, 1], [2, 9]])] * 6), np.random.default_rng(0), 50)
    assert low == high


def test_the_command(cli, source, tmp_path):
    output = make_synthetic(source, tmp_path / "out", ("night", "snow"))
    torch.manual_seed(0)
    built = build_net(TINY["architecture"], TINY["encoder"], 19, options=TINY["options"])
    info = SegmenterInfo(
        TINY["architecture"], TINY["encoder"], TINY["options"], CITYSCAPES_19.names, palette_of(CITYSCAPES_19),
        built.mean, built.std, (48, 96),
    )  # fmt: skip
    save_checkpoint(tmp_path / "net", built.net.state_dict(), info)
    arguments = ("estimate", tmp_path / "net", "--source", source, "--device", "cpu")
    done = cli(*arguments, "--synthetic", output, "--json", "-")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert [(row["domain"], row["images"]) for row in content["results"]] == [("night", 7), ("snow", 7)]
    assert list(content["results"][0]) == ["domain", "images", "miou", "low", "high", "iou"]
    assert "night: mean IoU" in done.stderr
    missing = cli(*arguments)
    assert missing.status == 2
    assert "--synthetic" in missing.stderr
