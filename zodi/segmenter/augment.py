"""Random crop, flip and colour jitter, drawn from a generator that belongs to one image of one epoch.

Same seed, epoch and index: same result, whatever the number of workers or processes and wherever a run was resumed.
"""

import numpy as np
from PIL import Image
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from zodi.segmenter.images import Pixels

FACTORS = (0.5, 1.5)  # of brightness, contrast and saturation
HUE = 0.3  # of the colour circle, to both sides
FLIP = 0.5  # probability


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
