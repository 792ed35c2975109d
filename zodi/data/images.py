"""Image files to arrays: upright, 8-bit RGB, decoded to the last byte, and an error that names the file otherwise."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from zodi.data.suffixes import UNREAD_SUFFIXES
from zodi.errors import DataError

# Pillow warns above this number of pixels and refuses twice as many; by default that is less than telephones take
Image.MAX_IMAGE_PIXELS = 2**28
# texts and colour profiles of PNG files, decompressed: image generators write workflows there, beyond Pillow's 1 MiB
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**26

# what turns stored pixels upright, by the EXIF tag Orientation; as `PIL.ImageOps.exif_transpose`, which fails where
# another tag is damaged
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset((5, 6, 7, 8))  # those that swap height and width

TO_RGB_BY = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}  # modes that Pillow does not convert well at once
EMPTY_IDAT = bytes(4) + b"IDAT" + b"\x35\xaf\x06\x1e"


class Decoded(NamedTuple):
    """A decoded file, upright.

    raw_mode     the mode of its stored pixels ("L;2", "RGB;16B" ...; "" where the format does not tell)
    format       Pillow's name of it, e.g. "PNG"
    """

    image: Image.Image
    raw_mode: str
    format: str | None


class Header(NamedTuple):
    """What a file says of itself: (height, width) of the upright picture, and its EXIF orientation, 1..8."""

    size: tuple[int, int]
    orientation: int


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB (H, W, 3), 0..255, upright; grey and palette images are converted, alpha is dropped.

    Raises DataError for a file that is missing, truncated, no image, too large, or of more than 8 bits per channel.
    """
    image, raw_mode, _ = decode(path)
    # "BGR;16" is a bitmap of 5 + 6 + 5 bits, every other ";16" has 16 bits per channel
    if image.mode in ("I", "F") or (";16" in raw_mode + image.mode and not raw_mode.startswith("BGR")):
        raise DataError(f"{path}: the image has more than 8 bits per channel: convert it to 8 bits")
    if image.mode == "LAB":
        raise DataError(f"{path}: the image has PIL mode LAB: convert it to RGB")
    with _named(path):
        if image.mode in TO_RGB_BY:
            image = image.convert(TO_RGB_BY[image.mode])
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def decode(path: Path) -> Decoded:
    """The decoded file, turned upright where its EXIF block says so.

    Raises DataError for a file that is missing, truncated, no image or too large.
    """
    with _named(path):
        with open_regular(path) as file:
            content = file.read()
        with Image.open(BytesIO(content)) as image:
            if image.format == "PNG":
                image.verify()  # decoding alone does not notice every broken checksum, and then returns wrong pixels
        with Image.open(BytesIO(content)) as image:
            arguments = image.tile[0][3] if image.tile else ""
            raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
            image.load()
            turn = UPRIGHT.get(_orientation(image))  # Pillow itself has turned a TIFF file and removed the tag
            upright = image if turn is None else image.transpose(turn)
            return Decoded(upright, raw_mode if isinstance(raw_mode, str) else "", image.format)


def read_header(path: Path) -> Header:
    """Size and orientation of a picture, without decoding it. Raises DataError where it is no image."""
    with _named(path), open_regular(path) as file:
        png = file.read(8) == b"\x89PNG\r\n\x1a\n"
        with Image.open(_without_pixels(file) if png else file) as image:
            orientation = _orientation(image)
            width, height = image.size
            if isinstance(image, TiffImageFile):  # Pillow may have swapped its size already
                width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            return Header((width, height) if orientation in SIDEWAYS else (height, width), orientation)


def count_frames(path: Path) -> int:
    """How many pictures a file has, of which the first is read. Raises DataError where it is no image."""
    with _named(path), open_regular(path) as file, Image.open(file) as image:
        try:
            return int(getattr(image, "n_frames", 1))
        except Exception:  # a damaged index of frames leads the parser to anything; the first one is read by itself
            return 1


def open_regular(path: Path) -> BufferedReader:
    """Open a file; a pipe, socket or device, which may keep a reader waiting for ever, is refused with DataError."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"{path}: is a pipe, a socket or a device: put an image file in its place or remove it")
    return path.open("rb")


def _orientation(image: Image.Image) -> int:
    try:
        # of a PNG file the general method, as its own decodes the picture; what is behind the pixels is there by now
        tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block leads the parser to anything; it says nothing then, viewers ignore it too
        return 1
    return int(tag) if tag in UPRIGHT else 1


def _without_pixels(file: BinaryIO) -> BytesIO:
    """A PNG file with its pixels left out, so that all that is behind them, EXIF too, belongs to its header."""
    file.seek(0)
    parts = [file.read(8)]
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] in (b"IDAT", b"fdAT"):
            file.seek(length + 4, os.SEEK_CUR)
        else:
            parts += [head, file.read(length + 4)]
    return BytesIO(b"".join([*parts, EMPTY_IDAT]))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Make whatever goes wrong with a file a DataError that names it, and says what to do."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        suffix = path.suffix.lower()
        if suffix in UNREAD_SUFFIXES:
            raise DataError(f"{path}: {suffix} files are not read: convert it to PNG or JPEG") from None
        raise DataError(f"{path}: is empty, truncated or not an image: copy or export it again") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path}: has more pixels than any camera (above {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million): "
            "cut it into parts, or export it again if the file is broken"
        ) from None
    except MemoryError:
        raise DataError(f"{path}: does not fit into memory: make it smaller, or cut it into parts") from None
    except Exception as error:  # a decoder raises whatever a broken file leads it to: SyntaxError, KeyError ...
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        metadata = "MAX_TEXT" in reason
        what = "save it without its texts and colour profile" if metadata else "copy or export it again"
        raise DataError(f"{path}: cannot be decoded ({reason}): {what}") from None
