"""Pictures as cameras store them: turned, with the EXIF orientation that says how they are upright."""

import struct
import zlib
from pathlib import Path

from PIL import Image
from PIL.Image import Transpose

TAGS = range(1, 9)
STORED = {  # what makes the stored pixels of an upright picture
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


def stored(picture: Image.Image, tag: int) -> Image.Image:
    return picture.transpose(STORED[tag]) if tag in STORED else picture


def save_stored(picture: Image.Image, path: Path, tag: int, **options: object) -> Path:
    exif = Image.Exif()
    exif[0x0112] = tag
    path.parent.mkdir(parents=True, exist_ok=True)
    stored(picture, tag).save(path, exif=exif, **options)
    return path


def turn(root: Path, labels: str = "shown") -> Path:
    """Store images a/0 ... a/7 of a street set with the orientations 1 ... 8.

    labels  "shown": they stay upright; "stored": turned like the pixels; "tagged": so, with the tag of the image
    """
    for tag in TAGS:
        image, label = (root / kind / "a" / f"{tag - 1}.png" for kind in ("images", "labels"))
        save_stored(Image.open(image).copy(), image, tag)
        picture = Image.open(label).copy()
        if labels == "stored":
            stored(picture, tag).save(label)
        elif labels == "tagged":
            save_stored(picture, label, tag)
    return root


def insert_chunk(png: bytes, kind: bytes, data: bytes, before: bytes = b"IEND") -> bytes:
    """A PNG file with one more chunk before the first one called `before`."""
    position = png.index(before) - 4
    return png[:position] + png_chunk(kind, data) + png[position:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
