"""From image files to what the graphs take, and back: working size, source image, control map, decoded image."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from zodi.errors import SettingsError
from zodi.labels import IGNORE, Ids, LabelSet

Rgb = NDArray[np.uint8]
Planes = NDArray[np.float32]
PixelRule = Literal["reference", "rounded"]
ControlResize = Literal["nearest", "area"]


def working_size(height: int, width: int, *, image_size: int, multiple: int) -> tuple[int, int]:
    """The size (height, width) at which an image is transferred: short side `image_size`, both multiples of `multiple`.

    Raises SettingsError where image_size is not itself a positive multiple.
    """
    if image_size < multiple or image_size % multiple:
        raise SettingsError(
            f"image size is {image_size}, this model takes multiples of {multiple}: "
            f"the nearest is {max(round(image_size / multiple), 1) * multiple}"
        )
    scale = image_size / min(height, width)
    sides = [max(round(side * scale / multiple), 1) * multiple for side in (height, width)]
    return sides[0], sides[1]


def source_planes(image: Rgb, size: tuple[int, int]) -> Planes:
    """Image (H, W, 3) -> (3, h, w) float32 in -1..1; area interpolation down, Lanczos up, as the original."""
    planes = np.ascontiguousarray(resize_image(image, size).transpose(2, 0, 1), np.float32)
    planes /= 127.5
    planes -= 1.0
    return planes


def resize_image(image: Rgb, size: tuple[int, int]) -> Rgb:
    """Image (H, W, 3) -> (h, w, 3): area interpolation where the short side shrinks, Lanczos where it grows."""
    if image.shape[:2] == size:
        return image
    grows = min(size) > min(image.shape[:2])
    return _resize(image, size, Image.Resampling.LANCZOS) if grows else resize_area(image, size)


def resize_area(image: Rgb, size: tuple[int, int]) -> Rgb:
    """Image (H, W, 3) -> (h, w, 3), each pixel the mean of the area that it covers, parts of pixels included."""
    import cv2  # Pillow's box filter takes pixels whole or not at all

    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)


def control_image(
    ids: Ids,
    label_set: LabelSet,
    size: tuple[int, int],
    *,
    palette: str = "cityscapes",
    resize: ControlResize = "nearest",
) -> Rgb:
    """The label in colour at the working size: ids (H, W) -> (h, w, 3).

    palette  see `LabelSet.control_colours`; with "coco" void takes the nearest labelled pixel's class
    resize   "nearest" keeps the colours pure; "area" mixes them at borders, as the original does
    """
    if palette == "coco":
        ids = fill_void(ids, label_set)
    colours = label_set.control_colours(palette)
    if resize == "nearest":
        return np.take(colours, resize_label(ids, size), axis=0)
    return resize_area(colours[ids], size)


def fill_void(ids: Ids, label_set: LabelSet) -> Ids:
    """Give each void pixel of (H, W) the id of the nearest pixel that is not void; all void stays as it is."""
    void = label_set.id_to_train_id[ids] == IGNORE
    if not void.any() or void.all():
        return ids
    nearest: Any = ndimage.distance_transform_edt(void, return_distances=False, return_indices=True)
    filled: Ids = ids[tuple(nearest)]
    return filled


def resize_label(ids: Ids, size: tuple[int, int]) -> Ids:
    """Label (H, W) -> (h, w), nearest."""
    return _resize(ids, size, Image.Resampling.NEAREST)


def control_planes(control: Rgb) -> Planes:
    """Control map (h, w, 3) -> (3, h, w) float32 in 0..1."""
    return np.ascontiguousarray(control.transpose(2, 0, 1), np.float32) / 255.0


def decoded_image(planes: Planes, pixels: PixelRule = "reference") -> Rgb:
    """Decoded (3, h, w), about -1..1 -> (h, w, 3) uint8; "reference" truncates, as the original."""
    values = planes.transpose(1, 2, 0) * np.float32(127.5) + np.float32(127.5)
    if pixels == "rounded":
        values = np.rint(values)
    return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8))


def _resize(image: Rgb, size: tuple[int, int], kernel: Image.Resampling) -> Rgb:
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), kernel))
