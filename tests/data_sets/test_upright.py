"""Pictures are read upright, whatever way their pixels are stored, and labels belong to the upright picture."""

from pathlib import Path

import numpy as np
import pytest
from conftest import make_street
from PIL import Image, ImageOps
from turned import TAGS, insert_chunk, save_stored, turn

from zodi.data import check_pair, open_dataset, read_image, read_label
from zodi.data.check import before_run, check_dataset
from zodi.data.images import read_header
from zodi.errors import DataError

SAVED = {
    "x.png": {},
    "x.jpg": {"quality": 95},
    "x.webp": {"lossless": True},
    "x.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "x.avif": {"quality": 90},
}


@pytest.fixture
def picture() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", SAVED)
def test_images(tmp_path: Path, picture: Image.Image, name: str, tag: int) -> None:
    path = save_stored(picture, tmp_path / name, tag, **SAVED[name])
    read = read_image(path)
    assert np.array_equal(read, np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")))
    assert read.shape == (64, 96, 3) and np.abs(read.astype(int) - np.asarray(picture)).mean() < 3
    assert read.flags.writeable and read.flags.c_contiguous
    header = read_header(path)
    assert header.size == (64, 96) and header.orientation == tag


@pytest.mark.parametrize("where", ["before the pixels", "behind the pixels", "XMP", "ImageMagick's text"])
def test_every_place_of_the_tag_in_png(tmp_path: Path, picture: Image.Image, where: str) -> None:
    """Read as Pillow does, and the header alone says the same."""
    save_stored(picture, tmp_path / "x.png", 6)
    exif = Image.open(tmp_path / "x.png").getexif().tobytes()
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "x.png")
    png = (tmp_path / "x.png").read_bytes()
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x tiff:Orientation="6"/>'
    text = b"Raw profile type exif\0\nexif\n%8d\n" % len(exif) + exif.hex().encode() + b"\n"
    kind, data, before = {
        "before the pixels": (b"eXIf", exif.removeprefix(b"Exif\0\0"), b"IDAT"),
        "behind the pixels": (b"eXIf", exif.removeprefix(b"Exif\0\0"), b"IEND"),
        "XMP": (b"iTXt", xmp, b"IEND"),
        "ImageMagick's text": (b"tEXt", text, b"IEND"),
    }[where]
    (tmp_path / "x.png").write_bytes(insert_chunk(png, kind, data, before))
    assert np.array_equal(read_image(tmp_path / "x.png"), np.asarray(picture))
    assert read_header(tmp_path / "x.png") == ((64, 96), 6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("damaged", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"\xff" * 60])
def test_a_damaged_exif_block_says_nothing(tmp_path: Path, picture: Image.Image, damaged: bytes) -> None:
    picture.save(tmp_path / "x.jpg", exif=damaged, quality=95)
    picture.save(tmp_path / "plain.jpg", quality=95)
    assert np.array_equal(read_image(tmp_path / "x.jpg"), read_image(tmp_path / "plain.jpg"))
    assert read_header(tmp_path / "x.jpg") == ((64, 96), 1)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_there_is_not(tmp_path: Path, picture: Image.Image, value: int) -> None:
    path = save_stored(picture, tmp_path / "x.png", value)
    assert np.array_equal(read_image(path), np.asarray(picture)) and read_header(path).orientation == 1


@pytest.mark.parametrize("labels", ["shown", "tagged"])
def test_labels_of_the_upright_picture(tmp_path: Path, labels: str) -> None:
    plain = open_dataset(None, make_street(tmp_path / "plain", count=8))
    turned = open_dataset(None, turn(make_street(tmp_path / "turned", count=8), labels))
    for expected, sample in zip(plain.samples, turned.samples, strict=True):
        image, ids = read_image(sample.image), read_label(turned, sample)
        check_pair(image, ids, sample)
        assert np.array_equal(image, read_image(expected.image))
        assert np.array_equal(ids, read_label(plain, expected))
    report = check_dataset(turned)
    assert not report.problems and report.sizes == {(48, 96): 8}
    (note,) = report.notes
    assert note.startswith(f"files that their EXIF orientation turns upright: {7 if labels == 'shown' else 14}, ")
    assert f"{turned.samples[1].image} (2)" in note
    assert "turns upright: 7, " in before_run(turned)[0] and not before_run(plain)
    assert not check_dataset(plain).notes


def test_labels_drawn_on_stored_pixels(tmp_path: Path) -> None:
    """The sizes tell where a side was swapped; where not, the rule is upright, and it is said that there are such."""
    dataset = open_dataset(None, turn(make_street(tmp_path, count=8), "stored"))
    report = check_dataset(dataset)
    assert [problem.path.stem for problem in report.problems] == ["4", "5", "6", "7"]
    for tag, problem in zip((5, 6, 7, 8), report.problems, strict=True):
        image = dataset.samples[tag - 1].image
        assert "the label is 96x48" in problem.message and "is 48x96" in problem.message
        assert f"EXIF orientation {tag} turns {tag - 1}.png upright" in problem.message
        assert problem.message.endswith(f"remove the tag (exiftool -Orientation= {image})")
    assert "turns upright: 7, " in " ".join(before_run(dataset))


def test_square_pictures_follow_the_rule(tmp_path: Path) -> None:
    """Nothing tells how their labels were drawn; they are taken to fit the upright picture, which is said."""
    plain = open_dataset(None, make_street(tmp_path / "plain", count=8, size=(48, 48)))
    turned = open_dataset(None, turn(make_street(tmp_path / "turned", count=8, size=(48, 48)), "stored"))
    report = check_dataset(turned)
    assert not report.problems and "turns upright: 7, " in report.notes[0]
    for expected, sample in zip(plain.samples, turned.samples, strict=True):
        assert np.array_equal(read_image(sample.image), read_image(expected.image))
        assert np.array_equal(read_label(turned, sample), np.asarray(Image.open(str(sample.label))))


def test_a_tag_on_the_label_alone(tmp_path: Path) -> None:
    dataset = open_dataset(None, make_street(tmp_path, count=1))
    label = dataset.samples[0].label
    assert label is not None
    save_stored(Image.open(label).copy().transpose(Image.Transpose.ROTATE_270), label, 6)  # upright, and yet a tag
    with pytest.raises(DataError, match=rf"EXIF orientation 6 turns 0.png upright.*exiftool -Orientation= {label}"):
        check_pair(read_image(dataset.samples[0].image), read_label(dataset, dataset.samples[0]), dataset.samples[0])


def test_other_sizes_are_not_blamed_on_exif(tmp_path: Path) -> None:
    dataset = open_dataset(None, turn(make_street(tmp_path, count=8)))
    sample = dataset.samples[5]
    with pytest.raises(DataError, match="they must be of one size"):
        check_pair(read_image(sample.image), np.zeros((47, 96), np.uint8), sample)
