"""Each layout, built as its publishers lay it out, gives the right keys, labels and ids."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zodi.data import Dataset, open_dataset, read_image, read_label, read_train_ids
from zodi.errors import DataError

Write = Callable[..., Path]

ROAD = (128, 64, 128)


def keys(dataset: Dataset) -> list[str]:
    return [sample.key for sample in dataset.samples]


@pytest.fixture
def cityscapes(tmp_path: Path, write_image: Write, write_label: Write) -> Path:
    """train/aachen: car; val/bonn: road; test/ulm: out of roi. All three kinds of label."""
    scenes = (
        ("train", "aachen_000000_000019", 26, 13, (0, 0, 142)),
        ("val", "bonn_000001_000019", 7, 0, ROAD),
        ("test", "ulm_000002_000019", 3, 255, (0, 0, 0)),
    )
    for split, name, ident, train_id, colour in scenes:
        city = name.split("_")[0]
        write_image(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        gt = tmp_path / "gtFine" / split / city
        write_label(gt / f"{name}_gtFine_labelIds.png", ident)
        write_label(gt / f"{name}_gtFine_instanceIds.png", 99)
        write_label(gt / f"{name}_gtFine_labelTrainIds.png", train_id)
        write_label(gt / f"{name}_gtFine_color.png", np.full((6, 8, 4), (*colour, 255), np.uint8))
    return tmp_path


@pytest.mark.parametrize("labels", [None, "ids", "train-ids", "colours"])
def test_cityscapes_reads_every_kind_of_label_to_the_same_ids(cityscapes: Path, labels: str | None) -> None:
    dataset = open_dataset("cityscapes", cityscapes, labels=labels)
    assert keys(dataset) == [
        "train/aachen/aachen_000000_000019_leftImg8bit",
        "val/bonn/bonn_000001_000019_leftImg8bit",
    ]
    assert dataset.problems == () and dataset.labels == (labels or "ids")
    assert [np.unique(read_label(dataset, s)).tolist() for s in dataset.samples] == [[26], [7]]
    assert [np.unique(read_train_ids(dataset, s)).tolist() for s in dataset.samples] == [[13], [0]]
    assert read_image(dataset.samples[0].image).shape == (6, 8, 3)
    assert dataset.image_root == cityscapes / "leftImg8bit"


def test_cityscapes_split(cityscapes: Path) -> None:
    assert keys(open_dataset("cityscapes", cityscapes, split="val")) == ["val/bonn/bonn_000001_000019_leftImg8bit"]
    test = open_dataset("cityscapes", cityscapes, split="test", labels="train-ids")
    assert read_label(test, test.samples[0])[0, 0] == 0  # void is the first void id, whichever it was
    with pytest.raises(DataError, match=r"'night'.*test, train, val"):
        open_dataset("cityscapes", cityscapes, split="night")


def test_images_alone_are_enough_where_labels_are_not_needed(cityscapes: Path) -> None:
    (cityscapes / "gtFine").rename(cityscapes / "elsewhere")
    with pytest.raises(DataError, match=r"gtFine: no such directory.*leftImg8bit/ and gtFine/"):
        open_dataset("cityscapes", cityscapes)
    dataset = open_dataset("cityscapes", cityscapes, need_labels=False)
    assert len(dataset.samples) == 3 and dataset.problems == ()
    assert all(sample.label is None for sample in dataset.samples)


@pytest.fixture
def acdc(tmp_path: Path, write_image: Write, write_label: Write) -> Path:
    """fog/train (two sizes), night/val, and a clear-weather partner without label."""
    for place, name, shape in (
        ("fog/train/GOPR0475", "GOPR0475_frame_000041", (6, 8)),
        ("fog/train/GOPR0476", "GOPR0476_frame_000042", (5, 7)),
        ("night/val/GOPR0356", "GOPR0356_frame_000321", (6, 8)),
    ):
        write_image(tmp_path / "rgb_anon" / place / f"{name}_rgb_anon.png", shape)
        for ending, values in (
            ("labelIds", np.full(shape, 23, np.uint8)),
            ("labelTrainIds", np.full(shape, 10, np.uint8)),
            ("labelColor", np.full((*shape, 3), (70, 130, 180), np.uint8)),
        ):
            write_label(tmp_path / "gt" / place / f"{name}_gt_{ending}.png", values)
    write_image(tmp_path / "rgb_anon/fog/train_ref/GOPR0475/GOPR0475_frame_000041_rgb_ref_anon.png")
    return tmp_path


@pytest.mark.parametrize("labels", ["ids", "train-ids", "colours"])
@pytest.mark.parametrize("condition", [None, "all"])
def test_acdc_all_conditions(acdc: Path, condition: str | None, labels: str) -> None:
    dataset = open_dataset("acdc", acdc, condition=condition, labels=labels)
    assert keys(dataset) == [
        "fog/train/GOPR0475/GOPR0475_frame_000041_rgb_anon",
        "fog/train/GOPR0476/GOPR0476_frame_000042_rgb_anon",
        "night/val/GOPR0356/GOPR0356_frame_000321_rgb_anon",
    ]
    assert dataset.condition is None and dataset.problems == ()
    assert [read_label(dataset, s).shape for s in dataset.samples] == [(6, 8), (5, 7), (6, 8)]
    assert {int(v) for s in dataset.samples for v in read_label(dataset, s).ravel()} == {23}


def test_acdc_condition_and_split(acdc: Path) -> None:
    assert len(open_dataset("acdc", acdc, condition="fog").samples) == 2
    assert len(open_dataset("acdc", acdc, split="val").samples) == 1
    with pytest.raises(DataError, match=r"'dusk'.*fog, night; allowed are fog, night, rain, snow, or all"):
        open_dataset("acdc", acdc, condition="dusk")
    with pytest.raises(DataError, match=r"unknown split 'train'.*there is val"):
        open_dataset("acdc", acdc, condition="night", split="train")


@pytest.fixture
def gta5(tmp_path: Path, write_image: Write, write_label: Write) -> Path:
    """Palette labels of car, one with a pixel of id 34, which no table lists."""
    for name in ("00001", "00002", "00003"):
        values = np.full((6, 8), 26, np.uint8)
        values[0, 0] = 34
        write_image(tmp_path / "images" / f"{name}.png")
        write_label(tmp_path / "labels" / f"{name}.png", values, palette=True)
    (tmp_path / "some.txt").write_text("00003.png\n\n00001.png\n00003.png\n")
    return tmp_path


def test_gta5_ids_that_no_table_lists_are_void(gta5: Path) -> None:
    dataset = open_dataset("gta5", gta5)
    assert keys(dataset) == ["00001", "00002", "00003"] and dataset.unknown_ids_are_void
    ids, train_ids = read_label(dataset, dataset.samples[0]), read_train_ids(dataset, dataset.samples[0])
    assert (ids[0, 0], ids[1, 1], train_ids[0, 0], train_ids[1, 1]) == (0, 26, 255, 13)


def test_gta5_list(gta5: Path, tmp_path: Path) -> None:
    dataset = open_dataset("gta5", gta5, split="some")
    assert keys(dataset) == ["00001", "00003"] and dataset.problems == () and dataset.split == "some"
    assert keys(open_dataset("gta5", gta5, split=str(gta5 / "some.txt"))) == ["00001", "00003"]
    with pytest.raises(DataError, match=r"unknown split 'other'.*there is some"):
        open_dataset("gta5", gta5, split="other")
    (gta5 / "other.txt").write_text("00001.png\n00009.png\n")
    with pytest.raises(DataError, match=r"other.txt, line 2: .*00009.png does not exist"):
        open_dataset("gta5", gta5, split="other")
    (gta5 / "other.txt").write_text("\n")
    with pytest.raises(DataError, match=r"other.txt: the list is empty"):
        open_dataset("gta5", gta5, split="other")


def test_camvid_three_ways(camvid: Path, write_image: Write, write_label: Write) -> None:
    whole = open_dataset("camvid", camvid)
    assert keys(whole) == ["a", "b", "c"]
    assert [read_label(whole, s)[0, 0] for s in whole.samples] == [3, 5, 11]
    assert [read_train_ids(whole, s)[0, 0] for s in whole.samples] == [3, 5, 255]

    root = camvid.parent / "splits"
    write_image(root / "train/images/x.jpg")
    write_label(root / "train/labels/x.png", 1)
    write_image(root / "val/y.png")  # SegNet's layout
    write_label(root / "valannot/y.png", 2)
    train, val = open_dataset("camvid", root, split="train"), open_dataset("camvid", root, split="val")
    assert (keys(train), keys(val)) == (["x"], ["y"])
    assert read_label(train, train.samples[0])[0, 0] == 1 and read_label(val, val.samples[0])[0, 0] == 2
    with pytest.raises(DataError, match=r"'test'.*there is train, val"):
        open_dataset("camvid", root, split="test")
    with pytest.raises(DataError, match=r"--split: train, val"):
        open_dataset("camvid", root)


OWN_SET = """
name = "yard"
[[classes]]
name = "road"
id = 4
train_id = 0
colour = [1, 2, 3]
[[classes]]
name = "crane"
id = 9
train_id = 1
colour = [9, 9, 9]
control = "pole"
[[classes]]
name = "rest"
id = 200
train_id = 255
colour = [0, 0, 0]
"""


@pytest.fixture
def folder(tmp_path: Path, write_image: Write, write_label: Write) -> Path:
    write_image(tmp_path / "images/monday/cam.1/7.JPG")
    write_label(tmp_path / "labels/monday/cam.1/7.png", 9)
    write_image(tmp_path / "images/0.webp")
    write_label(tmp_path / "labels/0.png", 200)
    (tmp_path / "yard.toml").write_text(OWN_SET)
    return tmp_path


def test_folder_by_options(folder: Path) -> None:
    dataset = open_dataset("folder", folder, labels="ids", label_set=str(folder / "yard.toml"))
    assert keys(dataset) == ["0", "monday/cam.1/7"] and dataset.label_set.name == "yard"
    assert [read_label(dataset, s)[0, 0] for s in dataset.samples] == [200, 9]
    assert [read_train_ids(dataset, s)[0, 0] for s in dataset.samples] == [255, 1]
    same = open_dataset("folder", folder, labels="ids", label_set=dataset.label_set)
    assert same == dataset


def test_folder_by_description_and_options_beat_it(folder: Path) -> None:
    description = {"dataset": "folder", "label_set": "yard.toml", "labels": "ids", "camera": {"height": 1.4}}
    (folder / "dataset.json").write_text(json.dumps(description))
    dataset = open_dataset(None, folder)
    assert (dataset.name, dataset.label_set.name, dataset.labels) == ("folder", "yard", "ids")
    assert open_dataset(None, folder, labels="train-ids").labels == "train-ids"
    assert open_dataset(None, folder, label_set="camvid").label_set.name == "camvid"


def test_folder_is_never_guessed(folder: Path) -> None:
    with pytest.raises(DataError, match=r"--dataset cityscapes\|acdc\|gta5\|camvid\|folder\|\S+ or write dataset.json"):
        open_dataset(None, folder)
    with pytest.raises(
        DataError, match=r"--labels ids\|train-ids\|colours and --label-set cityscapes\|camvid\|\S+\|FILE"
    ):
        open_dataset("folder", folder)
    with pytest.raises(DataError, match=r"give --label-set"):
        open_dataset("folder", folder, labels="ids")
    images = open_dataset("folder", folder, need_labels=False)  # of labels whose meaning is not stated none is used
    assert len(images.samples) == 2 and all(sample.label is None for sample in images.samples)


def test_links_are_followed_once_and_hidden_files_are_left_out(camvid: Path, write_image: Write) -> None:
    (camvid / "images" / "loop").symlink_to(camvid / "images")
    write_image(camvid / "images" / "._a.png")
    linked = camvid.parent / "linked"
    linked.mkdir()
    (linked / "images").symlink_to(camvid / "images")
    (linked / "labels").symlink_to(camvid / "labels")
    assert keys(open_dataset("camvid", linked)) == ["a", "b", "c"]


def test_samples_are_sorted_by_key_not_by_file_name(camvid: Path, write_image: Write, write_label: Write) -> None:
    write_image(camvid / "images" / "a-1.png")  # "a-1.png" < "a.png", but "a" < "a-1"
    write_label(camvid / "labels" / "a-1.png", 1)
    assert keys(open_dataset("camvid", camvid)) == ["a", "a-1", "b", "c"]
