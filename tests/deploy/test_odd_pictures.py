"""`zodi predict` and calibration with pictures and names as people have them."""

import os

import numpy as np
import pytest
from conftest import make_street
from PIL import Image
from turned import TAGS, save_stored, turn

from zodi import predicting
from zodi.deploying import calibration_arrays
from zodi.predicting import find_images, predict_images
from zodi.segmenter.pictures import ALPHA, overlay


def pictures(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


@pytest.fixture
def photos(tmp_path):
    """Three photographs in a folder."""
    root = make_street(tmp_path / "street", count=3)
    return (root / "images" / "a").rename(tmp_path / "photos")


def test_predictions_of_turned_pictures_are_upright(exported, tmp_path):
    plain, turned = make_street(tmp_path / "plain", count=8), turn(make_street(tmp_path / "turned", count=8))
    for root, name in ((plain, "expected"), (turned, "found")):
        predict_images(exported / "model.onnx", [str(root / "images")], tmp_path / name, batch=4)
    assert len(pictures(tmp_path / "found")) == 16
    assert pictures(tmp_path / "found") == pictures(tmp_path / "expected")


def test_calibration_sees_turned_pictures_upright(file, tmp_path):
    roots = make_street(tmp_path / "plain", count=8), turn(make_street(tmp_path / "turned", count=8))
    for below in ("", "images"):  # as a data set and as a folder
        arrays = zip(*(calibration_arrays([str(root / below)], file, 8) for root in roots), strict=True)
        assert [np.array_equal(expected, found) for expected, found in arrays] == [True] * 8


def test_a_second_run_does_not_predict_what_the_first_one_wrote(cli, exported, photos):
    for _ in range(2):
        done = cli("predict", exported / "model.onnx", photos, "-o", photos)
        assert done.status == 0 and "3 images predicted, 0 left out" in done.stdout
        assert len(list(photos.rglob("*.png"))) == 9
    assert "note: " in done.stderr and "predictions are written to its folder" in done.stderr
    assert "(5 more like it)" in done.stderr
    assert sorted(find_images([str(photos)], photos)) == ["0", "1", "2"]
    assert len(list(find_images([str(photos / "labels/0.png")], photos))) == 1  # given by name
    (photos.parent / "link").symlink_to(photos)
    assert len(find_images([str(photos.parent / "link")], photos)) == 3
    done = cli("predict", exported / "model.onnx", f"{photos}/overlays/*.png", "-o", photos)
    assert done.status == 1 and "matches no image" in done.stderr


def test_files_that_are_no_images(cli, exported, photos):
    (photos / "x.heic").write_bytes(b"x")
    (photos / "._0.png").write_bytes(b"x")
    (photos / "folder.png").mkdir()
    Image.open(photos / "0.png").save(photos / "0.gif")
    os.mkfifo(photos / "pipe.png")
    (photos / "self.png").symlink_to("self.png")
    done = cli("predict", exported / "model.onnx", photos, "-o", photos.parent / "out")
    assert done.status == 1 and "3 images predicted, 2 left out" in done.stdout
    assert "x.heic: is left out, .heic files are not read" in done.stderr
    assert "0.gif: is left out, it is called as" in done.stderr
    assert "pipe.png: is a pipe" in done.stderr and "self.png: cannot be read (Too many levels" in done.stderr


@pytest.mark.parametrize("name", [b"x" * 251, b"stra\xdfe"])
def test_names_as_there_are(cli, exported, photos, name):
    (photos / "1.png").rename(os.fsdecode(os.fsencode(photos) + b"/" + name + b".png"))
    done = cli("predict", exported / "model.onnx", photos, "-o", photos.parent / "out", "--json", "-")
    assert done.status == 0, done.stderr
    assert os.fsdecode(name + b".png") in [path.name for path in (photos.parent / "out/labels").iterdir()]


@pytest.mark.parametrize("batch", [1, 3])
def test_one_picture_that_memory_does_not_hold_is_left_out(exported, photos, monkeypatch, batch):
    original = predicting.predict_sizes
    Image.new("RGB", (300, 50)).save(photos / "1.png")

    def predict_sizes(segmenter, images):
        if any(image.shape[1] == 300 for image in images):
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad_alloc: std::bad_alloc")
        return original(segmenter, images)

    monkeypatch.setattr(predicting, "predict_sizes", predict_sizes)
    done = predict_images(exported / "model.onnx", [str(photos)], photos.parent / "out", batch=batch)
    assert sorted(done.labels) == ["0", "2"]
    assert (
        list(done.failed) == [str(photos / "1.png")]
        and "does not fit into memory" in done.failed[str(photos / "1.png")]
    )


def test_overlays_are_mixed_in_parts():
    rng = np.random.default_rng(0)
    image, ids = rng.integers(0, 256, (600, 7, 3), np.uint8), rng.integers(0, 3, (600, 7), np.uint8)
    palette = ((255, 0, 0), (0, 7, 200))
    colours = np.array([*palette, (0, 0, 0)], np.float32)[ids]
    mixed = ((1 - ALPHA) * image + ALPHA * colours).round().astype(np.uint8)
    assert np.array_equal(overlay(image, ids, palette), np.where((ids < 2)[..., None], mixed, image))


@pytest.mark.parametrize("tag", TAGS)
def test_jpeg_photographs(exported, tmp_path, tag):
    """As telephones save them: the label has the size that viewers show."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8))
    save_stored(picture, tmp_path / "in/x.jpg", tag, quality=95)
    predict_images(exported / "model.onnx", [str(tmp_path / "in")], tmp_path / "out")
    for kind in ("labels", "overlays"):
        assert Image.open(tmp_path / f"out/{kind}/x.png").size == (96, 48)
