"""Label and image files of every sound form give exactly the values that were written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zodi.data import open_dataset, read_image, read_label, read_train_ids
from zodi.labels import CAMVID_11, CITYSCAPES_19, LABEL_SETS

Write = Callable[..., Path]


def folder_with(tmp_path: Path, write_image: Write, label: Image.Image, suffix: str = ".png") -> Path:
    write_image(tmp_path / "images" / "x.png", (label.height, label.width))
    (tmp_path / "labels").mkdir()
    label.save(tmp_path / "labels" / f"x{suffix}")
    return tmp_path


def random_ids(name: str) -> np.ndarray:
    """All ids of a label set, shuffled, (20, 30)."""
    ids = np.resize(np.array(sorted(LABEL_SETS[name].ids), np.uint8), 600)
    return np.random.default_rng(3).permutation(ids).reshape(20, 30)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("name", list(LABEL_SETS))
def test_ids(tmp_path: Path, write_image: Write, name: str, suffix: str) -> None:
    ids = random_ids(name)
    root = folder_with(tmp_path, write_image, Image.fromarray(ids), suffix)
    dataset = open_dataset("folder", root, labels="ids", label_set=name)
    read = read_label(dataset, dataset.samples[0])
    assert read.dtype == np.uint8 and np.array_equal(read, ids)
    trained = read_train_ids(dataset, dataset.samples[0])
    assert trained.dtype == np.uint8 and np.array_equal(trained, LABEL_SETS[name].id_to_train_id[ids])
    read[0, 0] = 1  # a caller may write into it


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("name", list(LABEL_SETS))
def test_colours(tmp_path: Path, write_image: Write, name: str, mode: str) -> None:
    label_set, ids = LABEL_SETS[name], random_ids(name)
    label = Image.fromarray(label_set.id_colours[ids])
    if mode == "P":
        label = Image.fromarray(ids)
        label.putpalette(label_set.id_colours.ravel().tolist())
    elif mode == "RGBA":
        label.putalpha(7)
    dataset = open_dataset("folder", folder_with(tmp_path, write_image, label), labels="colours", label_set=name)
    read = read_label(dataset, dataset.samples[0])
    # of ids that share a colour the first stands for all
    first = {c: next(k.id for k in label_set.classes if k.colour == c) for c in {k.colour for k in label_set.classes}}
    same = np.arange(256, dtype=np.uint8)
    for c in label_set.classes:
        same[c.id] = first[c.colour]
    assert read.dtype == np.uint8 and np.array_equal(read, same[ids])


def test_of_one_colour_the_first_id_wins(tmp_path: Path, write_image: Write) -> None:
    label = Image.fromarray(np.array([[(153, 153, 153), (0, 0, 0)]], np.uint8))
    root = folder_with(tmp_path, write_image, label)
    dataset = open_dataset("folder", root, labels="colours", label_set="cityscapes")
    assert read_label(dataset, dataset.samples[0]).tolist() == [[17, 0]]  # pole, not polegroup; unlabeled


def test_train_ids(tmp_path: Path, write_image: Write) -> None:
    train_ids = np.array([[*range(19), 255]], np.uint8)
    root = folder_with(tmp_path, write_image, Image.fromarray(train_ids))
    dataset = open_dataset("folder", root, labels="train-ids", label_set=CITYSCAPES_19)
    assert np.array_equal(read_train_ids(dataset, dataset.samples[0]), train_ids)
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33, 0]
    assert read_label(dataset, dataset.samples[0]).tolist() == [ids]


def test_indices_of_a_small_palette(tmp_path: Path, write_image: Write) -> None:
    """A 2-bit palette file holds indices, unlike a 2-bit grey file."""
    label = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    label.putpalette([0, 0, 0, 9, 9, 9, 0, 9, 0, 5, 5, 5])
    root = folder_with(tmp_path, write_image, label)
    dataset = open_dataset("folder", root, labels="ids", label_set=CAMVID_11)
    assert Image.open(dataset.samples[0].label).tile[0][3] == "P;2"
    assert read_label(dataset, dataset.samples[0]).tolist() == [[0, 1], [2, 3]]


@pytest.mark.filterwarnings("error")
def test_images_become_rgb(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    palette = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    palette.putpalette(rgb.ravel().tolist() + [0] * (768 - rgb.size))
    alpha = Image.fromarray(rgb)
    alpha.putalpha(Image.fromarray(rgb[..., 0]))
    grey = Image.fromarray(rgb[..., 0])
    cases = {
        "rgb": (Image.fromarray(rgb), {}, rgb),
        "palette": (palette, {}, rgb),
        "transparent palette": (palette, {"transparency": bytes(range(48))}, rgb),
        "alpha": (alpha, {}, rgb),
        "grey": (grey, {}, np.stack([rgb[..., 0]] * 3, -1)),
        "grey with alpha": (grey.convert("LA"), {}, np.stack([rgb[..., 0]] * 3, -1)),
    }
    for name, (image, options, expected) in cases.items():
        path = tmp_path / f"{name}.png"
        image.save(path, **options)
        read = read_image(path)
        assert read.dtype == np.uint8 and np.array_equal(read, expected), name
        assert read.flags.writeable and read.flags.c_contiguous
