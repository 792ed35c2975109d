"""Random scale, crop, flip, colour jitter and noise, drawn from a generator that belongs to one image of one epoch.

Same seed, epoch and index: same result, whatever the number of workers or processes and wherever a run was resumed.
"""

import numpy as np
from PIL import Image, ImageFilter
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from zodi.labels import IGNORE
from zodi.segmenter.images import Pixels
from zodi.segmenter.settings import TrainSettings

FACTORS = (0.5, 1.5)  # of brightness, contrast and saturation
HUE = 0.3  # of the colour circle, to both sides
FLIP = 0.5  # probability
BLUR = 0.5  # probability
BLUR_RADIUS = (0.1, 2.0)  # standard deviation in pixels
NOISE = 0.5  # probability
NOISE_LEVELS = (0.0, 10.0)  # standard deviation, of 255
GREY = 128  # of what an image does not show
CUTOUT = 0.5  # probability
CUTOUT_SIDES = (0.25, 0.5)  # of the image's sides


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one image (its index in the data set) of one epoch."""
    return np.random.default_rng([seed, epoch, index])


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of `count` images in an epoch."""
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def crop_and_flip(rng: np.random.Generator, arrays: tuple[Pixels, ...], size: tuple[int, int]) -> tuple[Pixels, ...]:
    """The same random crop of `size` = (height, width) and the same flip for arrays (H, W, ...) of one H and W."""
    height, width = size
    top = int(rng.integers(arrays[0].shape[0] - height + 1))
    left = int(rng.integers(arrays[0].shape[1] - width + 1))
    step = -1 if rng.random() < FLIP else 1
    return tuple(array[top : top + height, left : left + width][:, ::step] for array in arrays)


def rescale_crop_and_flip(
    rng: np.random.Generator, arrays: tuple[Pixels, ...], size: tuple[int, int], scale: tuple[float, float]
) -> tuple[Pixels, ...]:
    """The same as `crop_and_flip` of arrays that were resized by one random factor out of a range.

    Images (H, W, 3) by Lanczos, labels (H, W) by the nearest pixel; only what is kept is computed. Where they are
    smaller than the crop then, the rest of it is grey in images and void in labels.
    """
    factor = float(rng.uniform(*scale))
    before = arrays[0].shape[:2]
    resized = [max(1, round(factor * side)) for side in before]
    height, width = (min(sides) for sides in zip(resized, size, strict=True))
    top, left = int(rng.integers(resized[0] - height + 1)), int(rng.integers(resized[1] - width + 1))
    step = -1 if rng.random() < FLIP else 1
    y, x = (side / whole for side, whole in zip(before, resized, strict=True))
    box = (left * x, top * y, min((left + width) * x, before[1]), min((top + height) * y, before[0]))
    # the pixel that the centre falls into, exactly: Pillow's box is in float32
    rows = (2 * (top + np.arange(height)) + 1) * before[0] // (2 * resized[0])
    columns = (2 * (left + np.arange(width)) + 1) * before[1] // (2 * resized[1])
    cropped = []
    for array in arrays:
        filled = np.full((*size, *array.shape[2:]), IGNORE if array.ndim == 2 else GREY, np.uint8)
        if array.ndim == 2:
            filled[:height, :width] = array[rows[:, None], columns]
        else:
            picture = Image.fromarray(np.ascontiguousarray(array))
            filled[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box))
        cropped.append(filled[:, ::step])
    return tuple(cropped)


def jitter_colours(rng: np.random.Generator, image: Pixels) -> Pixels:
    """(H, W, 3) to the same: brightness, contrast, saturation and hue, each by a random amount, in a random order."""
    brightness, contrast, saturation = rng.uniform(*FACTORS, 3).tolist()
    hue = float(rng.uniform(-HUE, HUE))
    changes = (
        (adjust_brightness, brightness),
        (adjust_contrast, contrast),
        (adjust_saturation, saturation),
        (adjust_hue, hue),
    )
    picture = Image.fromarray(np.ascontiguousarray(image))
    for i in rng.permutation(len(changes)).tolist():
        change, amount = changes[i]
        picture = change(picture, amount)
    return np.asarray(picture)


def change_pixels(rng: np.random.Generator, image: Pixels, settings: TrainSettings) -> Pixels:
    """What is drawn for each image alone, (H, W, 3) to the same: colour jitter, blur and noise, where set."""
    if settings.jitter:
        image = jitter_colours(rng, image)
    if settings.blur and rng.random() < BLUR:
        radius = float(rng.uniform(*BLUR_RADIUS))
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).filter(ImageFilter.GaussianBlur(radius)))
    if settings.noise and rng.random() < NOISE:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(*NOISE_LEVELS))
        image = (image + noise).round().clip(0, 255).astype(np.uint8)
    return image


def cut_out(rng: np.random.Generator, arrays: tuple[Pixels, ...]) -> tuple[Pixels, ...]:
    """Fill one random rectangle of half of the cases: grey in images (H, W, 3), void in labels (H, W).

    DeVries and Taylor, arXiv 1708.04552; with void the net is not asked for what it cannot see.
    """
    if rng.random() >= CUTOUT:
        return arrays
    height, width = arrays[0].shape[:2]
    h, w = (round(float(rng.uniform(*CUTOUT_SIDES)) * side) for side in (height, width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    filled = []
    for array in arrays:
        filled.append(array.copy())
        filled[-1][top : top + h, left : left + w] = IGNORE if array.ndim == 2 else GREY
    return tuple(filled)
