"""Evaluation: every image is counted once, at the scale that is declared; conditions apart; absent classes absent."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_street
from PIL import Image
from torch import nn

from zodi.data import open_dataset, read_image, read_train_ids
from zodi.errors import DataError, SettingsError
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.acdc import write_acdc_zip
from zodi.segmenter.checkpoint import Segmenter, load_checkpoint, read_info
from zodi.segmenter.evaluate import EvaluateSettings, distinguish, evaluate, predict_image, split_conditions
from zodi.segmenter.images import resize_image, resize_label, to_input
from zodi.segmenter.metrics import count_confusion, mean_iou
from zodi.segmenter.predict import PredictSettings, predict_scores


class ByColour(nn.Module):
    """A net that needs no training: one logit for each class, by a fixed projection of the pixel's colour."""

    multiple = 16

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.layer = nn.Conv2d(3, 19, 1)
        torch.manual_seed(4)
        nn.init.normal_(self.layer.weight)

    def forward(self, images, with_features=False):
        assert images.shape[-2] % self.multiple == 0
        assert images.shape[-1] % self.multiple == 0
        return self.layer(images)


@pytest.fixture
def by_colour(checkpoint):
    return Segmenter(ByColour().eval(), read_info(checkpoint))


def make_acdc(root: Path, counts: dict[str, int], split: str = "val") -> Path:
    """Images of 54x96 and labels with ids, in ACDC's layout."""
    rng = np.random.default_rng(1)
    for number, (condition, count) in enumerate(counts.items()):
        for i in range(10 * number, 10 * number + count):
            name = f"GOPR{i:04d}_frame_{i:06d}"
            image = rng.integers(0, 256, (54, 96, 3), np.uint8)
            label = rng.choice(np.array([7, 8, 11, 23, 26, 0], np.uint8), (54, 96))
            for folder, ending, pixels in (("rgb_anon", "rgb_anon", image), ("gt", "gt_labelIds", label)):
                if folder == "gt" and split == "test":
                    continue
                path = root / folder / condition / split / f"GOPR{i:04d}" / f"{name}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root / "gt").mkdir(exist_ok=True)
    return root


def test_scores_are_those_of_a_plain_loop(checkpoint, tmp_path):
    """Five images in batches of two: none lost, none twice."""
    segmenter = load_checkpoint(checkpoint)
    dataset = open_dataset(None, make_street(tmp_path / "data", count=5))
    (score,) = evaluate(segmenter, [dataset], EvaluateSettings(batch=2))
    counts = np.zeros((19, 19), np.int64)
    for sample in dataset.samples:
        image = to_input(resize_image(read_image(sample.image), (32, 64)), segmenter.info)
        with torch.no_grad():
            ids = segmenter.net(image[None])[0].argmax(0).numpy().astype(np.uint8)
        counts += count_confusion(resize_label(read_train_ids(dataset, sample), (32, 64)), ids, 19)
    assert np.array_equal(score.counts, counts)
    assert score.images == 5
    assert score.as_json()["miou"] == pytest.approx(mean_iou(counts))


def test_batch_size_does_not_matter(by_colour, tmp_path):
    dataset = open_dataset(None, make_street(tmp_path / "data", count=5))
    scores = [evaluate(by_colour, [dataset], EvaluateSettings(batch=batch))[0].counts for batch in (1, 3, 8)]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


def test_images_of_several_sizes(by_colour, tmp_path):
    root = make_street(tmp_path / "data", count=4)
    for path in sorted(root.rglob("1.png")):
        picture = Image.open(path)
        picture.resize((48, 40), Image.Resampling.NEAREST).save(path)
    (score,) = evaluate(by_colour, [open_dataset(None, root)], EvaluateSettings(scale="source"))
    void = sum((np.asarray(Image.open(path)) == 4).sum() for path in root.glob("labels/a/*.png"))
    assert score.counts.sum() == 3 * 48 * 96 + 40 * 48 - void


@pytest.mark.parametrize(
    ("settings", "declared", "pixels"),
    [
        (EvaluateSettings(), "32x64", 32 * 64),
        (EvaluateSettings(scale=(48, 80)), "48x80", 48 * 80),
        (EvaluateSettings(scale="source"), "source", 48 * 96),
        (EvaluateSettings(score_at="label"), "32x64, scored at the label's size", 48 * 96),
        (
            EvaluateSettings(predict=PredictSettings((16, 32), (0.5, 1.0), True)),
            "32x64, windows 16x32, scales 0.5 1, flip",
            32 * 64,
        ),
    ],
)
def test_the_scale_is_declared_and_kept(by_colour, tmp_path, settings, declared, pixels):
    dataset = open_dataset(None, make_street(tmp_path / "data", count=1))
    looks = []
    (score,) = evaluate(by_colour, [dataset], settings, on_image=lambda *look: looks.append(look))
    ((_, sample, image, truth, prediction),) = looks
    assert sample.key == "a/0"
    assert image.shape[:2] == truth.shape == prediction.shape
    assert truth.size == pixels
    assert score.counts.sum() == (truth != 255).sum()
    assert settings.declared(by_colour) == declared


def test_absent_classes_are_null_not_zero(by_colour, tmp_path):
    (score,) = evaluate(by_colour, [open_dataset(None, make_street(tmp_path / "data", count=2))])
    content = score.as_json()
    absent = [i for i in range(19) if not score.counts[i].any() and not score.counts[:, i].any()]
    with_truth = [i for i in range(19) if score.counts[i].any()]
    assert len(with_truth) == 6
    assert absent
    for i, name in enumerate(CITYSCAPES_19.names):
        assert (content["iou"][name] is None) == (i in absent)
    present = [value for value in content["iou"].values() if value is not None]
    assert content["miou"] == pytest.approx(sum(present) / len(present))
    json.dumps(content, allow_nan=False)


def test_acdc_conditions_apart_and_together(by_colour, tmp_path):
    root = make_acdc(tmp_path / "acdc", {"fog": 2, "night": 1, "snow": 3})
    scores = evaluate(by_colour, [open_dataset("acdc", root)])
    assert [(s.name, s.condition, s.images) for s in scores] == [
        ("acdc", "fog", 2), ("acdc", "night", 1), ("acdc", "snow", 3), ("acdc", "all", 6),
    ]  # fmt: skip
    assert np.array_equal(scores[3].counts, scores[0].counts + scores[1].counts + scores[2].counts)
    (night,) = evaluate(by_colour, [open_dataset("acdc", root, condition="night")])
    assert np.array_equal(night.counts, scores[1].counts)
    assert night.condition == "night"


def test_other_classes_are_refused(by_colour, tmp_path):
    root = make_street(tmp_path / "data", count=1)
    (root / "dataset.json").write_text('{"dataset": "folder", "label_set": "camvid", "labels": "train-ids"}')
    with pytest.raises(DataError, match="label set 'camvid' has 'sky' where the model has 'road'"):
        evaluate(by_colour, [open_dataset(None, root)])


# --- predictions


def test_padding_does_not_move_anything(by_colour):
    """A net of single pixels gives the same for an image that had to be padded."""
    images = torch.randn(2, 3, 21, 37)
    assert torch.equal(predict_scores(by_colour, images), by_colour.net.layer(images))


@pytest.mark.parametrize("window", [(16, 16), (16, 32), (48, 64), (13, 200), (1000, 1000)])
def test_windows_of_a_net_of_single_pixels_change_nothing(by_colour, window):
    images = torch.randn(1, 3, 40, 72)
    scores = predict_scores(by_colour, images, PredictSettings(window=window))
    assert torch.allclose(scores, by_colour.net.layer(images).softmax(1), atol=1e-6)


def test_flip_is_the_mean_of_both(checkpoint):
    segmenter = load_checkpoint(checkpoint)
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        plain, mirrored = (segmenter.net(x).softmax(1) for x in (images, images.flip(-1)))
    both = predict_scores(segmenter, images, PredictSettings(flip=True))
    assert torch.allclose(both, (plain + mirrored.flip(-1)) / 2, atol=1e-6)
    assert not torch.allclose(both, plain, atol=1e-4)
    assert torch.allclose(
        predict_scores(segmenter, images.flip(-1), PredictSettings(flip=True)).flip(-1), both, atol=1e-6
    )


def test_scales_are_averaged(checkpoint):
    segmenter = load_checkpoint(checkpoint)
    images = torch.randn(1, 3, 32, 64)
    single = [predict_scores(segmenter, images, PredictSettings(scales=(f,), flip=False)) for f in (0.5, 2.0)]
    both = predict_scores(segmenter, images, PredictSettings(scales=(0.5, 2.0)))
    assert torch.allclose(both, (single[0] + single[1]) / 2, atol=1e-6)
    assert both.shape == (1, 19, 32, 64)
    assert torch.allclose(both.sum(1), torch.ones(1, 32, 64), atol=1e-5)


def test_wrong_settings():
    with pytest.raises(SettingsError, match="scales"):
        PredictSettings(scales=(0.0,))
    with pytest.raises(SettingsError, match="score_at"):
        EvaluateSettings(score_at="image")  # type: ignore[arg-type]


# --- the archive for the ACDC server


def test_acdc_archive(by_colour, tmp_path):
    root = make_acdc(tmp_path / "acdc", {"fog": 1, "night": 2}, split="test")
    dataset = open_dataset("acdc", root, split="test", need_labels=False)
    settings = EvaluateSettings()
    assert write_acdc_zip(by_colour, dataset, tmp_path / "out/submission.zip", settings) == 3
    with zipfile.ZipFile(tmp_path / "out/submission.zip") as archive:
        names = archive.namelist()
        assert len(names) == 3
        assert names[0] == "labelTrainIds/GOPR0000_frame_000000_rgb_anon.png"
        for sample in dataset.samples:
            with archive.open(f"labelTrainIds/{sample.image.stem}.png") as file:
                ids = np.asarray(Image.open(file))
            assert ids.shape == (54, 96)
            assert ids.dtype == np.uint8
            assert ids.max() < 19
            assert np.array_equal(ids, predict_image(by_colour, read_image(sample.image), settings))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["submission.zip"]


def test_acdc_archive_of_another_data_set(by_colour, tmp_path):
    dataset = open_dataset(None, make_street(tmp_path / "data", count=1))
    with pytest.raises(DataError, match="needs --dataset acdc"):
        write_acdc_zip(by_colour, dataset, tmp_path / "x.zip", EvaluateSettings())
    acdc = open_dataset("acdc", make_acdc(tmp_path / "acdc", {"fog": 1}))
    twice = replace(acdc, samples=acdc.samples * 2)
    with pytest.raises(DataError, match="two images are called 'GOPR0000_frame_000000_rgb_anon'"):
        write_acdc_zip(by_colour, twice, tmp_path / "x.zip", EvaluateSettings())
    eleven = replace(by_colour, info=replace(by_colour.info, classes=by_colour.info.classes[:11]))
    with pytest.raises(DataError, match="19 classes, the model has 11"):
        write_acdc_zip(eleven, acdc, tmp_path / "x.zip", EvaluateSettings())
    assert not (tmp_path / "x.zip").exists()


def test_two_sets_of_one_name_are_told_apart(tmp_path):
    roots = [make_street(tmp_path / name, count=1) for name in ("day/town", "night/town", "other")]
    groups = [split_conditions(open_dataset(None, root)) for root in roots]
    distinguish(groups)
    assert [part.name for parts in groups for part in parts] == ["town-1", "town-2", "other"]
    camvid = [split_conditions(replace(open_dataset(None, root), name="camvid")) for root in roots[1:]]
    distinguish(camvid)
    assert [part.name for parts in camvid for part in parts] == ["camvid-town", "camvid-other"]
