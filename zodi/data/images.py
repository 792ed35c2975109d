"""Image files to arrays: decoded to the last byte, 8-bit RGB, and an error that names the file for anything else."""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from zodi.errors import DataError


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB (H, W, 3), 0..255; grey and palette images are converted, alpha is dropped.

    Raises DataError for a file that is missing, truncated, no image, or of more than 8 bits per channel.
    """
    image, raw_mode = decode(path)
    # "BGR;16" is a bitmap of 5 + 6 + 5 bits, every other ";16" has 16 bits per channel
    if image.mode in ("I", "F") or (";16" in raw_mode + image.mode and not raw_mode.startswith("BGR")):
        raise DataError(f"{path}: the image has more than 8 bits per channel: convert it to 8 bits")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette with transparency warns when it is converted to RGB at once
    return np.array(image.convert("RGB"))


def decode(path: Path) -> tuple[Image.Image, str]:
    """The decoded file and the mode of its stored pixels ("L;2", "RGB;16B" ...; "" where the format does not tell).

    Raises DataError for a file that is missing, truncated or no image.
    """
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            if image.format == "PNG":
                image.verify()  # decoding alone does not notice every broken checksum, and then returns wrong pixels
        with Image.open(BytesIO(content)) as image:
            arguments = image.tile[0][3] if image.tile else ""
            raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
            image.load()
            return image, raw_mode if isinstance(raw_mode, str) else ""
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError) as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: is empty, truncated or not an image: copy or export it again") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: has more pixels than any camera: the file is broken, export it again") from None
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # a decoder raises whatever a broken file leads it to: OSError, SyntaxError, KeyError ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded ({reason}): copy or export it again") from None


class Header(NamedTuple):
    """What a file says of itself: (height, width) of the picture."""

    size: tuple[int, int]


def read_header(path: Path) -> Header:
    """The size of a picture, without decoding it. Raises DataError where it is no image."""
    try:
        with Image.open(path) as image:
            return Header((image.height, image.width))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}): copy or export it again") from None
