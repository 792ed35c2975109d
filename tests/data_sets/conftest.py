"""Small real files: images of noise, labels of the values a test gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zodi.errors import DataError, ZodiError

SHAPE = (6, 8)


def _write(path: Path, pixels: np.ndarray, palette: bool = False, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image = Image.fromarray(pixels).convert("L")
        image.putpalette([v for i in range(256) for v in (i, 255 - i, 7)])
    image.save(path, **options)
    return path


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """write_image(path, shape=SHAPE): RGB noise, another for every path."""

    def write(path: Path, shape: tuple[int, int] = SHAPE) -> Path:
        noise = np.random.default_rng(sum(map(ord, path.name))).integers(0, 256, (*shape, 3), np.uint8)
        return _write(path, noise)

    return write


@pytest.fixture
def write_label() -> Callable[..., Path]:
    """write_label(path, values): an array, or one value everywhere; palette=True writes indices with a palette."""

    def write(path: Path, values: np.ndarray | int, palette: bool = False, **options: object) -> Path:
        pixels = np.full(SHAPE, values, np.uint8) if isinstance(values, int) else values
        return _write(path, pixels, palette, **options)

    return write


@pytest.fixture
def camvid(tmp_path: Path, write_image: Callable[..., Path], write_label: Callable[..., Path]) -> Path:
    """A root with images a, b and c and labels of road (3), tree (5) and void (11)."""
    for name, value in (("a", 3), ("b", 5), ("c", 11)):
        write_image(tmp_path / "camvid" / "images" / f"{name}.png")
        write_label(tmp_path / "camvid" / "labels" / f"{name}.png", value)
    return tmp_path / "camvid"


@pytest.fixture
def message_of() -> Callable[..., str]:
    """message_of(call, kind=DataError): what the call raises, which is one line."""

    def message(call: Callable[[], object], kind: type[ZodiError] = DataError) -> str:
        with pytest.raises(kind) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text and len(text) > 20
        return text

    return message
