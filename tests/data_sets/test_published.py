"""Data sets as their publishers and converters lay them out: names, nesting, quirks, and what their labels mean."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from zodi.cli.options import DATASETS, LABEL_KINDS
from zodi.data import Dataset, open_dataset, read_label, read_train_ids
from zodi.data.check import before_run, check_dataset
from zodi.data.index import LAYOUTS
from zodi.data.label_files import LABEL_KINDS as KINDS
from zodi.errors import DataError
from zodi.label_tables import CAMVID_32, IDD, SYNTHIA, VISTAS
from zodi.labels import CAMVID_11, CITYSCAPES_19, IGNORE, LABEL_SETS, LabelSet

Write = Callable[..., Path]

IDD_SET, SYNTHIA_SET, VISTAS_SET, CAMVID_32_SET = (LABEL_SETS[n] for n in ("idd", "synthia", "vistas", "camvid-32"))
PIXELS = np.random.default_rng(5)


def keys(dataset: Dataset) -> list[str]:
    return [sample.key for sample in dataset.samples]


def some_ids(label_set: LabelSet, shape: tuple[int, int] = (6, 8)) -> np.ndarray:
    return PIXELS.choice(np.array(sorted(label_set.ids), np.uint8), shape)


def train_ids(dataset: Dataset) -> list[np.ndarray]:
    return [read_train_ids(dataset, sample) for sample in dataset.samples]


def test_the_command_line_offers_what_there_is() -> None:
    assert tuple(LAYOUTS) == DATASETS
    assert LABEL_KINDS == KINDS


# --- label sets against Cityscapes' table


@pytest.mark.parametrize("label_set", [IDD_SET, SYNTHIA_SET, VISTAS_SET], ids=lambda s: s.name)
def test_the_trained_classes_are_those_of_cityscapes(label_set: LabelSet) -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    trained = {label.trainId: label for label in labels.labels if 0 <= label.trainId < 19}
    assert label_set.names == tuple(trained[i].name for i in range(19)) == CITYSCAPES_19.names
    by_name = {label.name: label for label in labels.labels}
    for c in label_set.classes:
        assert isinstance(c.control, str)
        if c.train_id != IGNORE:  # a class that is trained is drawn as the class that it is trained as
            assert by_name[c.control].trainId == c.train_id


def test_names_of_published_classes() -> None:
    assert len(VISTAS) == 66
    assert len(IDD) == 40
    assert len(SYNTHIA) == 23
    assert len(CAMVID_32) == 32
    for table in (VISTAS, IDD, SYNTHIA, CAMVID_32):
        assert len({row[0] for row in table}) == len(table)
    assert [name for name, *_ in CAMVID_32] == sorted((name for name, *_ in CAMVID_32), key=str.lower)
    assert len({colour for *_, colour in CAMVID_32}) == 32


def test_camvids_32_classes_make_its_11() -> None:
    assert CAMVID_32_SET.names == CAMVID_11.names
    merged = {
        "Bridge": "building",
        "SUVPickupTruck": "car",
        "LaneMkgsDriv": "road",
        "Child": "pedestrian",
        "Void": "void",
    }
    for published, one in merged.items():
        i = next(i for i, (name, *_) in enumerate(CAMVID_32) if name == published)
        expected = next(c.train_id for c in CAMVID_11.classes if c.name == one)
        assert CAMVID_32_SET.id_to_train_id[i] == expected


# --- trees


def test_bdd100k_of_2021_and_before(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    for split in ("train", "val", "test"):
        write_image(tmp_path / f"new/images/10k/{split}/0a0a0b1a-7c39d841.jpg")
        write_image(tmp_path / f"old/seg/images/{split}/0a0a0b1a-7c39d841.jpg")
        if split != "test":
            values = PIXELS.choice(np.array([0, 5, 18, 255], np.uint8), (6, 8))
            colours = np.dstack([CITYSCAPES_19.palette[values], np.full((6, 8), 255, np.uint8)])
            write_label(tmp_path / f"new/labels/sem_seg/masks/{split}/0a0a0b1a-7c39d841.png", values)
            write_label(tmp_path / f"new/labels/sem_seg/colormaps/{split}/0a0a0b1a-7c39d841.png", colours)
            write_label(tmp_path / f"old/seg/labels/{split}/0a0a0b1a-7c39d841_train_id.png", values)
            write_label(tmp_path / f"old/seg/color_labels/{split}/0a0a0b1a-7c39d841_train_color.png", colours)
    for root in ("new", "old"):
        whole = open_dataset("bdd100k", tmp_path / root)
        assert keys(whole) == ["train/0a0a0b1a-7c39d841", "val/0a0a0b1a-7c39d841"]
        assert whole.problems == ()
        coloured = open_dataset("bdd100k", tmp_path / root, labels="colours")
        assert np.array_equal(train_ids(whole), train_ids(coloured))
        assert len(open_dataset("bdd100k", tmp_path / root, split="val").samples) == 1
        assert len(open_dataset("bdd100k", tmp_path / root, split="test", need_labels=False).samples) == 1
    with pytest.raises(DataError, match="no labels of kind ids, only train-ids and colours"):
        open_dataset("bdd100k", tmp_path / "new", labels="ids")


def test_dark_zurich(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    stem = "GOPR0356/GOPR0356_frame_000321"
    for place in ("train/night", "train/day", "train/twilight", "val/night", "val_ref/day", "test/night"):
        write_image(tmp_path / f"rgb_anon/{place}/{stem}_rgb_anon.png")
    ids = some_ids(CITYSCAPES_19)
    for ending, values in (("labelIds", ids), ("labelTrainIds", CITYSCAPES_19.id_to_train_id[ids]), ("invGray", ids)):
        write_label(tmp_path / f"gt/val/night/{stem}_gt_{ending}.png", values)
    for kind in ("ids", "train-ids"):
        dataset = open_dataset("dark-zurich", tmp_path, labels=kind)
        assert keys(dataset) == [f"val/night/{stem}_rgb_anon"]
        assert dataset.problems == ()
        assert np.array_equal(train_ids(dataset)[0], CITYSCAPES_19.id_to_train_id[ids])
    day = open_dataset("dark-zurich", tmp_path, condition="day", split="train", need_labels=False)
    assert keys(day) == [f"train/day/{stem}_rgb_anon"]
    with pytest.raises(DataError, match=r"unknown condition 'fog'.*allowed are day, twilight, night, or all"):
        open_dataset("dark-zurich", tmp_path, condition="fog")


def test_idd(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    ids = some_ids(IDD_SET)
    for split in ("train", "val"):
        write_image(tmp_path / f"leftImg8bit/{split}/0/024541_leftImg8bit.png")
        write_label(tmp_path / f"gtFine/{split}/0/024541_gtFine_labelids.png", ids)
        write_label(tmp_path / f"gtFine/{split}/0/024541_gtFine_labelcsTrainIds.png", IDD_SET.id_to_train_id[ids])
        write_label(tmp_path / f"gtFine/{split}/0/024541_gtFine_labellevel3Ids.png", 3)
        (tmp_path / f"gtFine/{split}/0/024541_gtFine_polygons.json").write_text("{}")
    usual, own = open_dataset("idd", tmp_path), open_dataset("idd", tmp_path, labels="ids")
    assert keys(usual) == keys(own) == ["train/0/024541_leftImg8bit", "val/0/024541_leftImg8bit"]
    assert (usual.label_set.name, own.label_set.name) == ("cityscapes", "idd")
    assert np.array_equal(train_ids(usual), train_ids(own))


def write_synthia(path: Path, ids: np.ndarray, kind: type = np.uint16) -> None:
    """As published: the id in red, an instance in green, 16 bits each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    instances = np.arange(ids.size).reshape(ids.shape) * 7
    cv2.imwrite(str(path), np.dstack([np.zeros_like(ids), instances, ids]).astype(kind))  # blue, green, red


def test_synthia(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    ids = np.arange(23, dtype=np.uint8).repeat(3)[:48].reshape(6, 8)
    ids[5] = 22
    write_image(tmp_path / "RGB/0000000.png")
    path = tmp_path / "GT/LABELS/0000000.png"
    write_synthia(path, ids)
    dataset = open_dataset("synthia", tmp_path)
    sample = dataset.samples[0]
    assert np.array_equal(read_label(dataset, sample), ids)
    usual = {
        3: 0,
        4: 1,
        2: 2,
        21: 3,
        5: 4,
        7: 5,
        15: 6,
        9: 7,
        6: 8,
        16: 9,
        1: 10,
        10: 11,
        17: 12,
        8: 13,
        18: 14,
        19: 15,
        20: 16,
        12: 17,
        11: 18,
    }
    assert {int(i): int(t) for i, t in enumerate(SYNTHIA_SET.id_to_train_id[:23]) if t != IGNORE} == usual
    assert before_run(dataset) == []
    assert check_dataset(dataset).problems == ()

    write_label(tmp_path / "GT/LABELS/0000000_labelTrainIds.png", SYNTHIA_SET.id_to_train_id[ids])
    converted = open_dataset("synthia", tmp_path, labels="train-ids")
    assert converted.label_set.name == "cityscapes"
    assert np.array_equal(train_ids(converted), train_ids(dataset))
    assert open_dataset("synthia", tmp_path).problems == ()

    for damage, says in (
        (lambda: write_synthia(path, ids, np.uint8), "no 16-bit RGB file"),
        (lambda: write_synthia(path, ids.astype(np.uint16) * 100), r"ids up to 2200 in red"),
        (lambda: path.write_bytes(path.read_bytes()[:-40]), "Truncated"),
    ):
        damage()
        with pytest.raises(DataError, match=rf"{path}: .*{says}"):
            read_label(dataset, sample)


@pytest.mark.parametrize("release", ["labels", "v1.2/labels"])
def test_vistas(tmp_path: Path, write_image: Write, release: str) -> None:
    ids = some_ids(VISTAS_SET)
    for split in ("training", "validation", "testing"):
        write_image(tmp_path / split / "images/_2vzqI7iYdHTzCRYl5FwhA.jpg")
        if split != "testing":
            label = Image.fromarray(ids)
            label.putpalette([v for _, colour, _ in VISTAS for v in colour])
            (tmp_path / split / release).mkdir(parents=True)
            label.save(tmp_path / split / release / "_2vzqI7iYdHTzCRYl5FwhA.png")
            (tmp_path / split / "instances").mkdir()
            Image.fromarray(ids.astype(np.uint16) * 256).save(tmp_path / split / "instances/_2vzqI7iYdHTzCRYl5FwhA.png")
    dataset = open_dataset("vistas", tmp_path)
    assert keys(dataset) == ["training/images/_2vzqI7iYdHTzCRYl5FwhA", "validation/images/_2vzqI7iYdHTzCRYl5FwhA"]
    assert dataset.problems == ()
    by_name = {name: CITYSCAPES_19.names.index(one) if one in CITYSCAPES_19.names else 255 for name, _, one in VISTAS}
    expected = np.array([by_name[name] for name, *_ in VISTAS], np.uint8)[ids]
    assert np.array_equal(train_ids(dataset)[0], expected)
    assert len(open_dataset("vistas", tmp_path, split="testing", need_labels=False).samples) == 1


def test_camvid_as_published_and_as_kaggle_and_fastai_have_it(tmp_path: Path, write_image: Write) -> None:
    ids = some_ids(CAMVID_32_SET)
    coloured = Image.fromarray(CAMVID_32_SET.id_colours[ids])
    for root, images, labels in (
        ("published", "701_StillsRaw_full", "LabeledApproved_full"), ("kaggle", "val", "val_labels"),
    ):  # fmt: skip
        write_image(tmp_path / root / images / "0001TP_006690.png")
        (tmp_path / root / labels).mkdir(parents=True)
        coloured.save(tmp_path / root / labels / "0001TP_006690_L.png")
    write_image(tmp_path / "fastai/images/0001TP_006690.png")
    (tmp_path / "fastai/labels").mkdir()
    Image.fromarray(ids).save(tmp_path / "fastai/labels/0001TP_006690_P.png")
    codes = tmp_path / "fastai/codes.txt"
    codes.write_text("\n".join(name for name, *_ in CAMVID_32))
    sets = [
        open_dataset("camvid", tmp_path / "published"),
        open_dataset("camvid", tmp_path / "kaggle", split="val"),
        open_dataset("camvid", tmp_path / "fastai"),
    ]
    for dataset in sets:
        assert keys(dataset) == ["0001TP_006690"]
        assert dataset.problems == ()
        assert np.array_equal(train_ids(dataset)[0], CAMVID_32_SET.id_to_train_id[ids])
        assert dataset.label_set.names == CAMVID_11.names
    with pytest.raises(DataError, match=r"choose one of its splits with --split: val"):
        open_dataset("camvid", tmp_path / "kaggle")
    codes.write_text("\n".join(sorted((name for name, *_ in CAMVID_32), reverse=True)))
    with pytest.raises(DataError, match=r"codes.txt: names other classes .* or in another order"):
        open_dataset("camvid", tmp_path / "fastai")


def test_what_converters_leave_beside_labels_is_no_problem(
    tmp_path: Path, write_image: Write, write_label: Write
) -> None:
    for name in ("00001", "00002"):
        write_image(tmp_path / f"images/{name}.png")
        write_label(tmp_path / f"labels/{name}.png", 26)
        write_label(tmp_path / f"labels/{name}_labelTrainIds.png", 13)
    (tmp_path / "sample_class_stats.json").write_text("[]")
    for kind in ("ids", "train-ids"):
        dataset = open_dataset("gta5", tmp_path, labels=kind)
        assert dataset.problems == ()
        assert [int(found[0, 0]) for found in train_ids(dataset)] == [13, 13]


# --- names that end in something


def test_an_ending_of_labels_is_suggested_and_taken(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    for name in ("a/1", "a/10", "b.c/x_y"):
        write_image(tmp_path / f"images/{name}.jpg")
        write_label(tmp_path / f"labels/{name}_gt_P.png", 7)
    told = {"labels": "ids", "label_set": "cityscapes"}
    with pytest.raises(DataError, match=r"there are labels that end in _gt_P, give --label-suffix _gt_P"):
        open_dataset("folder", tmp_path, **told)
    for ending in ("_gt_P", "_gt_P.png"):
        dataset = open_dataset("folder", tmp_path, **told, label_suffix=ending)
        assert keys(dataset) == ["a/1", "a/10", "b.c/x_y"]
        assert dataset.problems == ()
    (tmp_path / "dataset.json").write_text(
        '{"dataset": "folder", "labels": "ids", "label_set": "cityscapes", "label_suffix": "_gt_P"}'
    )
    assert len(open_dataset(None, tmp_path).samples) == 3
    with pytest.raises(DataError, match=r"has no label .*labels/a/1_no.png"):
        open_dataset(None, tmp_path, label_suffix="_no")


def test_files_of_one_cause_are_one_line(
    cli: Callable[..., object], tmp_path: Path, write_image: Write, write_label: Write
) -> None:
    for name in "abcdefghi":
        write_image(tmp_path / f"images/{name}.png")
        write_label(
            tmp_path / f"labels/{name}.png", np.full((5 if name < "f" else 6, 8), 7 if name < "f" else 70, np.uint8)
        )
    done = cli(
        "data", "check", "--dataset", "folder", "--root", tmp_path, "--labels", "ids", "--label-set", "cityscapes"
    )
    lines = [line for line in done.stdout.splitlines() if str(tmp_path) in line][1:]
    assert done.status == 1
    assert len(lines) == 2
    assert "the label is 5x8" in lines[0]
    assert f"(4 more like it, e.g. {tmp_path}/labels/b.png, {tmp_path}/labels/c.png)" in lines[0]
    assert "does not list the ids 70 (48 pixels)" in lines[1]
    assert "(3 more like it, e.g. " in lines[1]
    assert done.stdout.splitlines()[-1] == "9 problems"
