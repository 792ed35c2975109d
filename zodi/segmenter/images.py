"""From a sample on disk to arrays at a size, and from arrays to what a net takes."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zodi.data import Dataset, Sample, check_pair, read_image, read_train_ids

if TYPE_CHECKING:  # sizes of images are also changed where there is no PyTorch
    from torch import Tensor

Pixels = NDArray[np.uint8]

WINDOW_STEP = 2 / 3  # of a window's side; neighbours share a third


class InputForm(Protocol):
    """What of a checkpoint's description decides the form of the input: mean and std, RGB, of values 0..1."""

    @property
    def mean(self) -> tuple[float, float, float]: ...
    @property
    def std(self) -> tuple[float, float, float]: ...


def read_pair(dataset: Dataset, sample: Sample) -> tuple[Pixels, Pixels]:
    """An image (H, W, 3) and its train ids (H, W). Raises DataError where they cannot be read or do not fit."""
    image, label = read_image(sample.image), read_train_ids(dataset, sample)
    check_pair(image, label, sample)
    return image, label


def resize_image(image: Pixels, size: tuple[int, int]) -> Pixels:
    """(H, W, 3) to `size` = (height, width), by Pillow's Lanczos kernel, which widens when it shrinks."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def resize_label(label: Pixels, size: tuple[int, int]) -> Pixels:
    """(H, W) to `size` = (height, width), by the nearest pixel."""
    if label.shape == size:
        return label
    return np.asarray(Image.fromarray(label).resize((size[1], size[0]), Image.Resampling.NEAREST))


def to_input(image: Pixels, form: InputForm) -> "Tensor":
    """(H, W, 3) uint8 to float32 (3, H, W), normalised."""
    import torch

    return normalise(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), form)


def normalise(image: "Tensor", form: InputForm) -> "Tensor":
    """uint8 (..., 3, H, W) to float32 of the same shape: (x / 255 - mean) / std."""
    import torch

    mean = torch.tensor(form.mean, device=image.device).view(3, 1, 1)
    std = torch.tensor(form.std, device=image.device).view(3, 1, 1)
    return (image.float() / 255 - mean) / std


def window_starts(side: int, window: int) -> list[int]:
    """Where sliding windows start along a side that is no shorter than they; the last one ends where the side does."""
    return [*range(0, side - window, max(1, int(WINDOW_STEP * window))), side - window]
