"""Pictures inside a page: arrays and files as data URIs, small enough that a page stays small."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH = 512  # pixels; wider images are made smaller
QUALITY = 80  # of WebP


def photo(image: NDArray[np.uint8]) -> str:
    """An image (H, W, 3) as a data URI, lossy."""
    return _uri(Image.fromarray(np.ascontiguousarray(image)), Image.Resampling.LANCZOS, lossless=False)


def drawing(image: NDArray[np.uint8]) -> str:
    """A map of flat colours (H, W, 3) as a data URI, without loss."""
    return _uri(Image.fromarray(np.ascontiguousarray(image)), Image.Resampling.NEAREST, lossless=True)


def png_file(path: Path) -> str:
    """A PNG file as a data URI, as it is."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _uri(image: Image.Image, kernel: Image.Resampling, *, lossless: bool) -> str:
    if image.width > WIDTH:
        image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), kernel)
    content = BytesIO()
    image.save(content, "WEBP", lossless=lossless, quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()
