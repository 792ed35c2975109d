"""`zodi predict` and `zodi evaluate` with every kind of model, and what is wrong with images."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from zodi.data import open_dataset, read_image, read_label
from zodi.errors import DataError, ModelError, SettingsError
from zodi.export.segmenter_onnx import add_head, attach_metadata
from zodi.labels import CAMVID_11, CITYSCAPES_19
from zodi.predicting import find_images, predict_images
from zodi.segmenter.evaluate import EvaluateSettings, evaluate
from zodi.segmenter.judge import open_judge
from zodi.segmenter.model import open_model
from zodi.segmenter.predict import PredictSettings


def test_labels_and_overlays(cli, exported, checkpoint, street_set, tmp_path):
    images = street_set.root / "images"
    done = cli("predict", exported / "model.onnx", images, "-o", tmp_path / "onnx", "--batch", 4, "--json", "-")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert list(content) == ["model", "images", "failed", "seconds"]
    assert list(content["images"]) == [f"a/{i}" for i in range(6)]
    assert cli("predict", checkpoint, f"{images}/a/*.png", "-o", tmp_path / "torch", "--device", "cpu").status == 0
    for i in range(6):
        picture = Image.open(tmp_path / f"onnx/labels/a/{i}.png")
        ids = np.asarray(picture)
        assert (picture.mode, picture.size) == ("P", (96, 48))
        assert np.array_equal(ids, np.asarray(Image.open(tmp_path / f"torch/labels/{i}.png")))
        assert np.array_equal(np.asarray(picture.convert("RGB")), CITYSCAPES_19.palette[ids])
        overlay = np.asarray(Image.open(tmp_path / f"onnx/overlays/a/{i}.png"))
        expected = 0.4 * read_image(images / f"a/{i}.png") + 0.6 * CITYSCAPES_19.palette[ids]
        assert np.abs(overlay - expected).max() <= 0.5 + 1e-3


def test_predictions_are_labels_that_zodi_reads(exported, street_set, tmp_path):
    predict_images(exported / "model.onnx", [str(street_set.root / "images")], tmp_path, overlays=False)
    assert not (tmp_path / "overlays").exists()
    shutil.copytree(street_set.root / "images", tmp_path / "images")
    (tmp_path / "dataset.json").write_text('{"dataset": "folder", "label_set": "cityscapes", "labels": "train-ids"}')
    dataset = open_dataset(None, tmp_path)
    assert len(dataset.samples) == 6
    assert set(np.unique(read_label(dataset, dataset.samples[0]))) <= CITYSCAPES_19.ids


def test_grey_labels_are_ids_in_opencv_too(cli, exported, street_set, tmp_path):
    images = street_set.root / "images"
    for kind in ("palette", "grey"):
        root = tmp_path / kind
        done = cli("predict", exported / "model.onnx", images, "-o", root, "--labels", kind, "--no-overlays")
        assert done.status == 0, done.stderr
        shutil.copytree(images, root / "images")
        (root / "dataset.json").write_text('{"dataset": "folder", "label_set": "cityscapes", "labels": "train-ids"}')
        assert cli("data", "check", "--root", root).status == 0
    for name in ("a/0.png", "a/5.png"):
        ids = np.asarray(Image.open(tmp_path / "palette/labels" / name))
        grey = cv2.imread(str(tmp_path / "grey/labels" / name), cv2.IMREAD_UNCHANGED)
        assert (grey.dtype, grey.shape) == (np.uint8, (48, 96))
        assert np.array_equal(grey, ids)
    palette, grey = (open_dataset(None, tmp_path / kind) for kind in ("palette", "grey"))
    for pair in zip(palette.samples, grey.samples, strict=True):
        assert np.array_equal(read_label(palette, pair[0]), read_label(grey, pair[1]))
    rows = []
    for kind in ("palette", "grey"):
        done = cli("evaluate", exported / "model.onnx", tmp_path / kind, "--device", "cpu", "--json", "-")
        assert done.status == 0, done.stderr
        rows.append({k: v for k, v in json.loads(done.stdout)["results"][0].items() if k not in ("dataset", "root")})
    assert rows[0]["miou"] == rows[1]["miou"] > 0.99
    with pytest.raises(SettingsError, match="labels is 'colours', allowed are palette, grey"):
        predict_images(exported / "model.onnx", [str(images)], tmp_path, labels="colours")


def test_grey_alpha_and_palette_images_are_taken_16_bits_are_not(cli, exported, tmp_path):
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8))
    for name, picture in (
        ("grey", colour.convert("L")),
        ("alpha", colour.convert("RGBA")),
        ("palette", colour.convert("P")),
        ("colour", colour),
    ):
        (tmp_path / "in").mkdir(exist_ok=True)
        picture.save(tmp_path / f"in/{name}.png")
    Image.fromarray(np.zeros((32, 64), np.uint16)).save(tmp_path / "in/deep.png")
    (tmp_path / "in/torn.png").write_bytes((tmp_path / "in/colour.png").read_bytes()[:100])
    done = cli("predict", exported / "model.onnx", tmp_path / "in", "-o", tmp_path / "out")
    assert done.status == 1
    assert "deep.png: the image has more than 8 bits per channel: convert it to 8 bits" in done.stderr
    assert "torn.png" in done.stderr
    assert "4 images predicted, 2 left out" in done.stdout
    labels = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "out/labels").iterdir()}
    assert set(labels) == {"grey", "alpha", "palette", "colour"}
    assert np.array_equal(labels["alpha"], labels["colour"])


def test_places_without_images(cli, exported, tmp_path):
    (tmp_path / "empty").mkdir()
    for place, says in (
        (tmp_path / "empty", "an empty folder: it has no image"),
        (tmp_path / "no/*.png", "matches no image"),
    ):
        done = cli("predict", exported / "model.onnx", place, "-o", tmp_path / "out")
        assert done.status == 1
        assert says in done.stderr
    done = cli("predict", tmp_path / "gone.onnx", tmp_path, "-o", tmp_path / "out")
    assert done.status == 1
    assert cli("predict", exported / "model.onnx").status == 2


def test_two_images_of_one_name(street_set):
    images = street_set.root / "images/a"
    with pytest.raises(DataError, match=r"is called as .*0\.png is"):
        find_images([str(images), str(images)])
    assert list(find_images([str(images / "0.png"), str(images.parent)])) == ["0", *(f"a/{i}" for i in range(6))]


# --- scores


def test_a_file_scores_as_its_checkpoint(cli, exported, checkpoint, street_set):
    rows = []
    for model in (checkpoint, exported / "model.onnx"):
        done = cli("evaluate", model, street_set.root, "--device", "cpu", "--json", "-")
        assert done.status == 0, done.stderr
        content = json.loads(done.stdout)
        assert content["scale"] == "32x64"
        rows.append(content["results"])
    assert rows[0] == rows[1]
    assert rows[0][0]["images"] == 6


def test_a_file_with_windows_is_scored_at_the_images_own_scale(traced, file, street_set, tmp_path):
    add_head(traced, tmp_path / "w.onnx", file, "labels")
    attach_metadata(tmp_path / "w.onnx", replace(file, fit="window"))
    model = open_model(tmp_path / "w.onnx")
    looks = []
    settings = EvaluateSettings()
    evaluate(model, [street_set], settings, on_image=lambda *look: looks.append(look))
    assert settings.declared(model) == "source, windows 32x64"
    assert {look[4].shape for look in looks} == {(48, 96)}


def test_what_only_a_checkpoint_can_do(exported, street_set):
    model = open_model(exported / "model.onnx")
    for predict, says in (
        (PredictSettings(flip=True), "cannot average passes: score the checkpoint"),
        (PredictSettings(scales=(0.5, 1.0)), "cannot average passes"),
        (PredictSettings(window=(16, 16)), "was exported with --fit resize at 32x64: leave --window out"),
    ):
        with pytest.raises(SettingsError, match=says):
            evaluate(model, [street_set], EvaluateSettings(predict=predict))
    with pytest.raises(SettingsError, match="takes images of 32x64, given is 48x96"):
        evaluate(model, [street_set], EvaluateSettings(scale="source"))
    camvid = replace(street_set, label_set=CAMVID_11)
    with pytest.raises(DataError, match="label set 'camvid' has 'sky' where the model has 'road'"):
        evaluate(model, [camvid])


# --- the judge of transfers


def test_a_file_judges_as_its_checkpoint(exported, checkpoint, traced, file, tmp_path):
    """At the file's own shape both resize alike; a checkpoint's ids are only enlarged by another rule."""
    add_head(traced, tmp_path / "p.onnx", file, "probabilities")
    attach_metadata(tmp_path / "p.onnx", replace(file, output="probabilities"))
    cpu = torch.device("cpu")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    net = open_judge(checkpoint, CITYSCAPES_19, cpu)
    probabilities = open_judge(tmp_path / "p.onnx", CITYSCAPES_19, cpu, confident=True)
    labels = open_judge(exported / "model.onnx", CITYSCAPES_19, cpu)
    ids, confidence = net(images)
    assert np.array_equal(probabilities(images)[0], ids)
    assert np.allclose(probabilities(images)[1], confidence, atol=1e-4)
    assert np.array_equal(labels(images)[0], ids)
    assert not labels(images)[1].any()
    large = np.kron(images, np.ones((1, 2, 2, 1), np.uint8))
    assert [array.shape for array in probabilities(large)] == [(2, 64, 128)] * 2
    assert len({judge.hash for judge in (net, probabilities, labels)}) == 3


def test_judges_that_will_not_do(exported):
    cpu = torch.device("cpu")
    with pytest.raises(SettingsError, match="--mask-disagreement needs to know how sure the judge is"):
        open_judge(exported / "model.onnx", CITYSCAPES_19, cpu, confident=True)
    with pytest.raises(ModelError, match="a judge for label set 'camvid' needs sky"):
        open_judge(exported / "model.onnx", CAMVID_11, cpu)
