"""Files and names as people have them: no plain pictures, odd modes, other suffixes, Unicode, byte order marks."""

import json
import os
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from turned import insert_chunk, png_chunk

from zodi.data import open_dataset, read_image, read_label
from zodi.data.check import before_run, check_dataset
from zodi.data.images import read_header
from zodi.domains import find_domain
from zodi.labels import find_label_set

Write = Callable[..., Path]
MessageOf = Callable[..., str]

NFC, NFD = (unicodedata.normalize(form, "straßé") for form in ("NFC", "NFD"))
BOM = "\ufeff"


# --- files that are no pictures, or odd ones


@pytest.mark.timeout(20)
def test_pipes_links_and_devices_do_not_block(camvid: Path, message_of: MessageOf) -> None:
    images = camvid / "images"
    for name in "abc":
        (images / f"{name}.png").unlink()
    os.mkfifo(images / "a.png")
    (images / "b.png").symlink_to("b.png")
    (images / "c.png").symlink_to("/dev/zero")
    report = check_dataset(open_dataset("camvid", camvid))
    assert [problem.message.split(":")[0] for problem in report.problems] == [
        "is a pipe, a socket or a device",
        "cannot be read (Too many levels of symbolic links)",
        "is a pipe, a socket or a device",
    ]
    for name in "abc":
        assert f"{name}.png: " in message_of(lambda name=name: read_header(images / f"{name}.png"))


def test_a_folder_that_links_to_itself_is_not_entered(camvid: Path) -> None:
    (camvid / "images" / "self").symlink_to("self")
    (camvid / "images" / "up").symlink_to("..")
    assert len(open_dataset("camvid", camvid, need_labels=False).samples) >= 3


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "PA"])
def test_modes_with_alpha(tmp_path: Path, mode: str) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    path = tmp_path / "x.tif"
    Image.fromarray(grey).convert("LA").convert("LA" if mode == "La" else mode).save(path)
    if mode == "La":  # premultiplied alpha, which Pillow reads and does not write: tag ExtraSamples is 1, not 2
        before, after = (b"\x52\x01\x03\0\x01\0\0\0" + value for value in (b"\x02\0", b"\x01\0"))
        assert path.read_bytes().count(before) == 1
        path.write_bytes(path.read_bytes().replace(before, after))
    assert Image.open(path).mode == mode
    assert np.array_equal(read_image(path), np.stack([grey] * 3, -1))


def test_a_mode_that_cannot_become_rgb(tmp_path: Path, message_of: MessageOf) -> None:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).convert("RGB").save(tmp_path / "rgb.tif")
    Image.new("LAB", (8, 6)).save(tmp_path / "lab.tif")
    assert "lab.tif: the image has PIL mode LAB: convert it to RGB" in message_of(
        lambda: read_image(tmp_path / "lab.tif")
    )


@pytest.mark.parametrize("kind", ["text", "colour profile"])
def test_png_with_long_texts(tmp_path: Path, write_image: Write, kind: str, message_of: MessageOf) -> None:
    """Workflows of image generators and large profiles are beyond what Pillow reads by default."""
    path = write_image(tmp_path / "x.png")
    png, pixels = path.read_bytes(), read_image(path)
    chunk, head = {"text": (b"zTXt", b"workflow\0\0"), "colour profile": (b"iCCP", b"profile\0\0")}[kind]
    path.write_bytes(insert_chunk(png, chunk, head + zlib.compress(bytes(20 * 2**20)), b"IDAT"))
    assert np.array_equal(read_image(path), pixels) and read_header(path).size == pixels.shape[:2]
    path.write_bytes(insert_chunk(png, chunk, head + zlib.compress(bytes(65 * 2**20)), b"IDAT"))
    message = message_of(lambda: read_image(path))
    assert message.startswith(f"{path}: ") and message.endswith("save it without its texts and colour profile")


def test_photographs_of_200_megapixels(tmp_path: Path, message_of: MessageOf) -> None:
    """Of one colour, so that the test is quick; twice the pixels that Pillow takes by default."""
    Image.new("L", (16320, 12240), 7).save(tmp_path / "x.png", compress_level=1)
    assert read_header(tmp_path / "x.png").size == (12240, 16320)
    image = read_image(tmp_path / "x.png")
    assert image.shape == (12240, 16320, 3) and image[-1, -1].tolist() == [7, 7, 7]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 8, 0, 0, 0, 0))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b""))
    assert "x.png: has more pixels than any camera (above 536 million)" in message_of(
        lambda: read_image(tmp_path / "x.png")
    )


def test_a_picture_that_memory_does_not_hold(
    tmp_path: Path, write_image: Write, monkeypatch: pytest.MonkeyPatch, message_of: MessageOf
) -> None:
    """As Pillow's allocation fails; a limit on the memory of this process would hit other things first."""
    path = write_image(tmp_path / "x.png")

    def load(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    assert message_of(lambda: read_image(path)).startswith(f"{path}: does not fit into memory: make it smaller")


# --- suffixes


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".avif", ".jp2", ".j2k", ".gif", ".ppm", ".tga", ".qoi", ".mpo"])
def test_what_pillow_reads_is_read(camvid: Path, suffix: str) -> None:
    picture = Image.open(camvid / "images" / "a.png")
    (camvid / "images" / "a.png").unlink()
    picture.save(camvid / "images" / f"a{suffix}")
    dataset = open_dataset("camvid", camvid)
    assert [sample.image.name for sample in dataset.samples] == [f"a{suffix}", "b.png", "c.png"]
    assert read_image(dataset.samples[0].image).shape == (6, 8, 3)
    assert not check_dataset(dataset).problems


def test_what_is_not_read_is_told(camvid: Path, message_of: MessageOf) -> None:
    for name in ("d.heic", "e.HEIC", "f.dng"):
        (camvid / "images" / name).write_bytes(b"x")
    (camvid / "labels" / "g.gif").write_bytes(b"x")
    (camvid / "images" / "notes.txt").write_text("no picture")
    dataset = open_dataset("camvid", camvid)
    assert [sample.key for sample in dataset.samples] == ["a", "b", "c"]
    assert before_run(dataset) == [
        f"{camvid}/images/d.heic: is left out, .heic files are not read here: convert it to PNG (1 more like it)",
        f"{camvid}/images/f.dng: is left out, .dng files are not read here: convert it to PNG",
        f"{camvid}/labels/g.gif: is left out, .gif files are not read here: convert it to PNG",
    ]
    assert ".heic files are not read: convert it to PNG or JPEG" in message_of(
        lambda: read_image(camvid / "images" / "d.heic")
    )
    for path in (camvid / "images").glob("*.png"):
        path.unlink()
    assert "no images that are read: 3 files like d.heic" in message_of(lambda: open_dataset("camvid", camvid))


def test_previews_beside_images_do_not_disturb(camvid: Path, write_image: Write) -> None:
    """They were not read before, and a data set that has them must go on working."""
    write_image(camvid / "images" / "a.gif")
    write_image(camvid / "images" / "animation.gif")
    dataset = open_dataset("camvid", camvid)
    assert [sample.image.name for sample in dataset.samples] == ["a.png", "b.png", "c.png"]
    assert [(problem.path.name, problem.message.split(":")[0]) for problem in dataset.problems] == [
        ("a.gif", "is left out, a.png has the same name without suffix"),
        ("animation.gif", "is left out, it has no label"),
    ]


def test_images_of_further_suffixes_alone_need_labels(camvid: Path, write_image: Write, message_of: MessageOf) -> None:
    for path in (camvid / "images").iterdir():
        path.rename(path.with_suffix(".gif"))
    (camvid / "labels" / "a.png").unlink()
    assert "a.gif: has no label" in message_of(lambda: open_dataset("camvid", camvid))


def test_what_is_wrong_is_few_lines(camvid: Path, write_label: Write) -> None:
    for i in range(40):
        write_label(camvid / "labels" / f"alone-{i}.png", 1)
    (line,) = before_run(open_dataset("camvid", camvid))
    assert line.startswith(f"{camvid}/labels/alone-0.png: has no image ") and line.endswith("(39 more like it)")


# --- names


def test_unicode_twins_are_pairs(camvid: Path, write_image: Write, write_label: Write) -> None:
    write_image(camvid / "images" / f"{NFD}.png")
    write_label(camvid / "labels" / f"{NFC}.png", 3)
    assert NFC != NFD and len(list((camvid / "labels").iterdir())) == 4
    dataset = open_dataset("camvid", camvid)
    assert not dataset.problems and [sample.key for sample in dataset.samples] == ["a", "b", "c", NFC]
    assert dataset.samples[3].image.name == f"{NFD}.png" and (read_label(dataset, dataset.samples[3]) == 3).all()


def test_two_forms_of_one_name_are_named(camvid: Path, write_image: Write, message_of: MessageOf) -> None:
    for name in (NFC, NFD):
        write_image(camvid / "images" / f"{name}.png")
    assert "in another form of Unicode (NFC, NFD): rename or remove one" in message_of(
        lambda: open_dataset("camvid", camvid)
    )


def test_names_that_are_not_utf_8(camvid: Path) -> None:
    for kind in ("images", "labels"):
        os.rename(camvid / kind / "a.png", os.fsencode(camvid / kind) + b"/stra\xdfe.png")  # noqa: PTH104
    report = check_dataset(open_dataset("camvid", camvid))
    assert not report.problems and report.sizes == {(6, 8): 3}
    (note,) = report.notes
    assert "images whose names are not UTF-8: 1, " in note and "stra\udcdfe.png" in note


# --- byte order marks


def test_byte_order_marks(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    write_image(tmp_path / "images" / "é.png")
    write_image(tmp_path / "images" / "b.png")
    write_label(tmp_path / "labels" / "é.png", 7)
    (tmp_path / "train.txt").write_text(f"{BOM}{unicodedata.normalize('NFD', 'é')}.png\n", encoding="utf-8")
    assert [sample.key for sample in open_dataset("gta5", tmp_path, split="train").samples] == ["é"]
    classes = '[[classes]]\nname = "road"\nid = 7\ntrain_id = 0\ncolour = [1, 2, 3]\n'
    (tmp_path / "own.toml").write_text(BOM + classes, encoding="utf-8")
    assert find_label_set(str(tmp_path / "own.toml")).names == ("road",)
    (tmp_path / "dusk.toml").write_text(f'{BOM}prompt = "dusk"\nstrength = 0.5\n', encoding="utf-8")
    assert find_domain(str(tmp_path / "dusk.toml")).prompt == "dusk"
    (tmp_path / "images" / "b.png").unlink()
    described = json.dumps({"dataset": "folder", "labels": "ids", "label_set": "own.toml"})
    (tmp_path / "dataset.json").write_text(BOM + described, encoding="utf-8")
    assert open_dataset(None, tmp_path).label_set.names == ("road",)
