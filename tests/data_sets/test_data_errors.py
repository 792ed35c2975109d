"""Every mistake with the layout of a data set is one line that names the file and the way out."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zodi.data import open_dataset, read_label
from zodi.errors import SettingsError

Write = Callable[..., Path]
MessageOf = Callable[..., str]


def test_root(tmp_path: Path, message_of: MessageOf) -> None:
    assert "no such directory: check --root" in message_of(lambda: open_dataset("camvid", tmp_path / "none"))
    (tmp_path / "file").write_text("x")
    assert "not a directory" in message_of(lambda: open_dataset("camvid", tmp_path / "file"))
    for name, expected in (
        ("cityscapes", "leftImg8bit/ and gtFine/"),
        ("acdc", "rgb_anon/ and gt/"),
        ("gta5", "images/ and labels/"),
        ("camvid", "images/ and labels/"),
        ("folder", "images/ and labels/"),
    ):
        message = message_of(lambda name=name: open_dataset(name, tmp_path, labels="ids", label_set="camvid"))
        assert expected in message
    assert "cityscapes, acdc, gta5, camvid, folder" in message_of(lambda: open_dataset("kitti", tmp_path))


def test_empty(tmp_path: Path, message_of: MessageOf) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert "images: no images: expected .png, .jpg" in message_of(lambda: open_dataset("camvid", tmp_path))
    (tmp_path / "leftImg8bit" / "train").mkdir(parents=True)
    (tmp_path / "gtFine").mkdir()
    assert "no folder for any split" in message_of(lambda: open_dataset("cityscapes", tmp_path))
    (tmp_path / "gtFine" / "train").mkdir()
    assert "expected *_leftImg8bit.png in train" in message_of(lambda: open_dataset("cityscapes", tmp_path))
    (tmp_path / "rgb_anon" / "fog" / "val").mkdir(parents=True)
    (tmp_path / "gt" / "fog" / "train").mkdir(parents=True)
    assert "no folder for any split" in message_of(lambda: open_dataset("acdc", tmp_path))


@pytest.mark.parametrize("name", ["", "images", "labels"])
def test_directory_without_permission(
    camvid: Path, monkeypatch: pytest.MonkeyPatch, message_of: MessageOf, name: str
) -> None:
    """As the system call fails; the permission bits themselves do not bind an administrator."""
    original = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == camvid / name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert f"{camvid / name}: cannot be listed (Permission denied)" in message_of(
        lambda: open_dataset("camvid", camvid)
    )


@pytest.mark.parametrize("name", ["cityscapes", "gta5", "camvid", "folder"])
def test_condition_is_acdcs(camvid: Path, name: str, message_of: MessageOf) -> None:
    call = lambda: open_dataset(name, camvid, condition="fog", labels="ids", label_set="camvid")  # noqa: E731
    assert f"a data set of layout {name} has no conditions" in message_of(call)


def test_folder_has_no_splits(camvid: Path, message_of: MessageOf) -> None:
    call = lambda: open_dataset("folder", camvid, split="train", labels="ids", label_set="camvid")  # noqa: E731
    assert "no splits: give the folder of the wanted part as --root" in message_of(call)


def test_missing_partners(camvid: Path, write_label: Write, message_of: MessageOf) -> None:
    (camvid / "labels" / "b.png").unlink()
    write_label(camvid / "labels" / "z.png", 1)
    message = message_of(lambda: open_dataset("camvid", camvid))
    assert str(camvid / "images/b.png") in message and str(camvid / "labels/b.png") in message
    assert "1 of 3 images" in message and "add the labels" in message

    dataset = open_dataset("camvid", camvid, strict=False)
    assert [p.path for p in dataset.problems] == [camvid / "images/b.png", camvid / "labels/z.png"]
    assert [s.label is None for s in dataset.samples] == [False, True, False]
    assert "b.png: has no label" in message_of(lambda: read_label(dataset, dataset.samples[1]))

    write_label(camvid / "labels" / "b.png", 1)
    strict = open_dataset("camvid", camvid)  # a label too many is no reason to stop
    assert [p.path for p in strict.problems] == [camvid / "labels/z.png"]

    unlabelled = open_dataset("camvid", camvid, need_labels=False)
    assert [s.label is None for s in unlabelled.samples] == [False, False, False]


def test_labels_of_another_kind_are_all_missing(
    tmp_path: Path, write_image: Write, write_label: Write, message_of: MessageOf
) -> None:
    write_image(tmp_path / "leftImg8bit/val/bonn/x_leftImg8bit.png")
    write_label(tmp_path / "gtFine/val/bonn/x_gtFine_labelIds.png", 7)
    message = message_of(lambda: open_dataset("cityscapes", tmp_path, labels="train-ids"))
    assert "x_gtFine_labelTrainIds.png; 1 of 1 images have none: check --labels" in message


def test_two_files_with_one_key(camvid: Path, write_image: Write, message_of: MessageOf) -> None:
    write_image(camvid / "images" / "a.jpg")
    message = message_of(lambda: open_dataset("camvid", camvid))
    assert "a.png: has the same name without suffix as a.jpg" in message
    assert len(open_dataset("camvid", camvid, strict=False).problems) == 1


def test_description(camvid: Path, message_of: MessageOf) -> None:
    path = camvid / "dataset.json"
    for content, expected in (
        ("{", "dataset.json: not a valid JSON file"),
        ("[1]", "dataset.json: holds no JSON object"),
        (json.dumps({"dataset": 3}), "dataset is 3, it must be a string"),
        (
            json.dumps({"dataset": "folder", "labels": "masks", "label_set": "camvid"}),
            "dataset.json: unknown kind of labels",
        ),
        (json.dumps({"dataset": "kitti"}), "unknown data set layout 'kitti'"),
    ):
        path.write_text(content)
        assert expected in message_of(lambda: open_dataset(None, camvid))
    path.write_text(json.dumps({"dataset": "folder", "labels": "ids", "label_set": "gone.toml"}))
    assert str(camvid / "gone.toml") in message_of(lambda: open_dataset(None, camvid), SettingsError)
    assert "unknown label set 'x'" in message_of(lambda: open_dataset("camvid", camvid, label_set="x"), SettingsError)
    assert "ids, train-ids, colours" in message_of(lambda: open_dataset("camvid", camvid, labels="masks"))
