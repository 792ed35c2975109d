"""Every broken or unfit image and label file is one line that names the file and the way out."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zodi.data import check_pair, open_dataset, read_image, read_label, read_train_ids

Write = Callable[..., Path]
MessageOf = Callable[..., str]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_truncated_image(tmp_path: Path, write_image: Write, suffix: str, share: float, message_of: MessageOf) -> None:
    path = write_image(tmp_path / f"x{suffix}", (48, 64))
    whole = path.read_bytes()
    assert read_image(path).shape == (48, 64, 3)
    path.write_bytes(whole[: int(len(whole) * share)])
    assert message_of(lambda: read_image(path)).startswith(f"{path}: ")


def test_a_flipped_bit_is_noticed(tmp_path: Path, write_label: Write, message_of: MessageOf) -> None:
    """The decoder alone returns wrong pixels for some of these."""
    path = write_label(tmp_path / "x.png", np.random.default_rng(0).integers(0, 12, (6, 8), np.uint8))
    whole = path.read_bytes()
    start = whole.index(b"IDAT") + 4
    end = whole.index(b"IEND") - 8
    assert end - start > 20
    for position in range(start, end):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        assert message_of(lambda: read_image(path)).startswith(f"{path}: ")


def test_files_that_are_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Write, message_of: MessageOf
) -> None:
    assert "No such file" in message_of(lambda: read_image(tmp_path / "none.png"))
    assert "Is a directory" in message_of(lambda: read_image(tmp_path))
    (tmp_path / "text.png").write_text("not an image")
    assert "not an image" in message_of(lambda: read_image(tmp_path / "text.png"))
    path = write_image(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    assert "more pixels than any camera" in message_of(lambda: read_image(path))


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif", "float.tif", "int.tif"])
def test_image_of_more_than_8_bits(tmp_path: Path, name: str, message_of: MessageOf) -> None:
    kind = {"grey16": np.uint16, "float": np.float32, "int": np.int32}[name.split(".")[0]]
    Image.fromarray(np.full((6, 8), 700, kind)).save(tmp_path / name)
    assert "more than 8 bits" in message_of(lambda: read_image(tmp_path / name))


def test_16_bit_colour_image(tmp_path: Path, message_of: MessageOf) -> None:
    (tmp_path / "x.png").write_bytes(_png_16_bit_rgb())
    assert "more than 8 bits" in message_of(lambda: read_image(tmp_path / "x.png"))


def _png_16_bit_rgb() -> bytes:
    """2x2 RGB with 16 bits per channel, which PIL reads but does not write."""
    return _png((2, 2, 16, 2), b"".join(b"\0" + bytes(12) for _ in range(2)))


def bad_label(tmp_path: Path, name: str) -> None:
    """Replace the label of image "a" by a bad one; the suffix stays .png, the content need not be one."""
    path = tmp_path / "labels" / "a.png"
    grey = np.full((6, 8), 3, np.uint8)
    if name == "jpeg":
        Image.fromarray(grey).save(path, format="JPEG")
    elif name == "jpeg in tiff":
        Image.fromarray(grey).save(path, format="TIFF", compression="jpeg")
    elif name == "webp":
        Image.fromarray(np.stack([grey] * 3, -1)).save(path, format="WEBP", lossless=True)
    elif name == "16-bit":
        Image.fromarray(grey.astype(np.uint16)).save(path)
    elif name == "16-bit colours":
        path.write_bytes(_png_16_bit_rgb())
    elif name == "1-bit":
        Image.fromarray(grey > 1).save(path)
    elif name == "4-bit":
        path.write_bytes(_png_4_bit())
    elif name == "grey with alpha":
        Image.fromarray(grey).convert("LA").save(path)
    elif name == "rgb":
        Image.fromarray(np.stack([grey] * 3, -1)).save(path)
    elif name == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    elif name == "text":
        path.write_text("3 3 3")


def _png_4_bit() -> bytes:
    """8x6 grey with 4 bits, all of value 3."""
    return _png((8, 6, 4, 0), b"".join(b"\0" + b"\x33" * 4 for _ in range(6)))


def _png(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """A PNG of width, height, bits, colour type; PIL reads more kinds than it writes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", *header, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("labels", ["ids", "train-ids", "colours"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jpeg", "is a JPEG file"),
        ("jpeg in tiff", "is a JPEG file"),
        ("webp", "is a WEBP file"),
        ("16-bit", "more than 8 bits"),
        ("16-bit colours", "more than 8 bits"),
        ("1-bit", "fewer than 8 bits"),
        ("4-bit", "fewer than 8 bits"),
        ("grey with alpha", "PIL mode LA"),
        ("truncated", "cannot be decoded"),
        ("text", "not an image"),
    ],
)
def test_bad_label_file(camvid: Path, name: str, expected: str, labels: str, message_of: MessageOf) -> None:
    dataset = open_dataset("camvid", camvid, labels=labels)
    if labels != "colours":
        assert read_label(dataset, dataset.samples[0])[0, 0] == 3
    bad_label(camvid, name)
    for read in (read_label, read_train_ids):
        message = message_of(lambda read=read: read(dataset, dataset.samples[0]))
        assert message.startswith(f"{camvid / 'labels' / 'a.png'}: ") and expected in message


def test_label_of_another_kind_than_declared(camvid: Path, message_of: MessageOf) -> None:
    dataset = open_dataset("camvid", camvid, labels="colours")
    assert "give --labels ids or train-ids" in message_of(lambda: read_label(dataset, dataset.samples[0]))
    bad_label(camvid, "rgb")
    for kind in ("ids", "train-ids"):
        dataset = open_dataset("camvid", camvid, labels=kind)
        message = message_of(lambda dataset=dataset: read_label(dataset, dataset.samples[0]))
        assert f"in colours but the kind is {kind}: give --labels colours" in message


def test_unlisted_values(camvid: Path, write_label: Write, message_of: MessageOf) -> None:
    values = np.full((6, 8), 3, np.uint8)
    values[0, :3], values[5, 7] = 40, 77
    path = write_label(camvid / "labels" / "a.png", values)
    ids, train_ids = (open_dataset("camvid", camvid, labels=kind) for kind in ("ids", "train-ids"))
    message = message_of(lambda: read_label(ids, ids.samples[0]))
    assert message.startswith(f"{path}: label set 'camvid' does not list the ids 40 (3 pixels), 77 (1 pixels): ")
    assert "--label-set" in message
    assert "train ids 40 (3 pixels)" in message_of(lambda: read_label(train_ids, train_ids.samples[0]))
    write_label(path, 255)
    assert "looks like --labels train-ids" in message_of(lambda: read_label(ids, ids.samples[0]))
    write_label(path, 11)
    assert "looks like --labels ids" in message_of(lambda: read_label(train_ids, train_ids.samples[0]))
    write_label(path, np.arange(48, dtype=np.uint8).reshape(6, 8) + 100)
    assert "104 (1 pixels) and 43 more" in message_of(lambda: read_label(ids, ids.samples[0]))


def test_unlisted_colours(camvid: Path, write_label: Write, message_of: MessageOf) -> None:
    pixels = np.full((6, 8, 3), (128, 64, 128), np.uint8)
    pixels[0, :5] = (128, 64, 129)
    path = write_label(camvid / "labels" / "a.png", pixels)
    dataset = open_dataset("camvid", camvid, labels="colours")
    message = message_of(lambda: read_label(dataset, dataset.samples[0]))
    assert message.startswith(f"{path}: label set 'camvid' does not list the colours (128, 64, 129) (5 pixels): ")


def test_label_of_another_size(camvid: Path, write_label: Write, message_of: MessageOf) -> None:
    dataset = open_dataset("camvid", camvid)
    sample = dataset.samples[0]
    check_pair(read_image(sample.image), read_label(dataset, sample), sample)
    write_label(camvid / "labels" / "a.png", np.full((8, 6), 3, np.uint8))
    message = message_of(lambda: check_pair(read_image(sample.image), read_label(dataset, sample), sample))
    assert "the label is 8x6" in message and "is 6x8" in message and "a.png" in message
