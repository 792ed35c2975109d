"""Training batches: decoded once where memory allows, augmented by threads, in an order that depends only on seeds."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample
from zodi.errors import DataError
from zodi.segmenter.augment import change_pixels, crop_and_flip, cut_out, epoch_order, generator, rescale_crop_and_flip
from zodi.segmenter.cache import ImageCache
from zodi.segmenter.checks import files_of
from zodi.segmenter.failures import Failures
from zodi.segmenter.images import InputForm, Pixels, read_pair, resize_image, resize_label, to_input
from zodi.segmenter.loop import Batch
from zodi.segmenter.rare_classes import Draw, RareClasses
from zodi.segmenter.settings import Size, TrainSettings

Result = TypeVar("Result")

CROPS = 10  # that are tried for one with the class that is wanted
AHEAD = 3  # batches that are prepared while the net works


class SourceBatches:
    """Batches {"image": (B, 3, h, w) float32, "label": (B, h, w) int64, 255 = void} of a labelled data set.

    B is the share of one of `processes` in the batch of the settings, which `processes` must divide.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: TrainSettings,
        form: InputForm,
        *,
        workers: int = 2,
        process: int = 0,
        processes: int = 1,
        cache: Path | None = None,
        failures: Failures | None = None,
        rare: RareClasses | None = None,
    ) -> None:
        """failures: what cannot be read, whose place the next image takes; None: the first one is an error.

        rare: what images are drawn by; None: each once in an epoch
        """
        assert settings.size is not None, "settings must be resolved"
        self.steps = len(dataset.samples) // settings.batch
        self._dataset, self._settings, self._form, self._workers = dataset, settings, form, workers
        self._process, self._processes = process, processes
        self._size = settings.size
        self._cache = ImageCache(settings.size, cache, labels=dataset.label_coding, expected=len(dataset.samples))
        self._failures, self._rare = failures or Failures(), rare

    def __call__(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""
        share = self._settings.batch // self._processes
        drawn = draws(self._settings, epoch, len(self._dataset.samples), self._rare)
        mine = own_draws(drawn, self._settings.batch, first=first, process=self._process, processes=self._processes)
        items = map_ahead(lambda draw: self._item(epoch, draw), mine, self._workers, AHEAD * share)
        while pairs := list(islice(items, share)):
            images, labels = zip(*pairs, strict=True)
            yield {
                "image": torch.stack([to_input(image, self._form) for image in images]),
                "label": torch.from_numpy(np.stack(labels)).long(),
            }

    def _item(self, epoch: int, draw: Draw) -> tuple[Pixels, Pixels]:
        rng = generator(self._settings.seed, epoch, draw.number)
        arrays = read_or_next(draw.index, len(self._dataset.samples), self._read, self._dataset)
        image, label = augment(rng, (arrays[..., :3], arrays[..., 3]), self._settings, draw.wanted)
        return change_pixels(rng, image, self._settings), label

    def _read(self, index: int) -> Pixels | None:
        sample = self._dataset.samples[index]
        files = files_of(sample)
        return self._failures.read(
            files, lambda: self._cache.get(files, lambda: labelled(self._dataset, sample, self._size))
        )


def read_or_next(index: int, count: int, read: Callable[[int], Result | None], dataset: Dataset) -> Result:
    """What `read` gives for an index or, where that cannot be used, for the next one that can.

    So each process has its share of every batch, and a resumed run the same images. Raises DataError where none can.
    """
    for other in (*range(index, count), *range(index)):
        found = read(other)
        if found is not None:
            return found
    raise DataError(f"{dataset.root}: none of {count} images can be used: see zodi data check")


def draws(settings: TrainSettings, epoch: int, count: int, rare: RareClasses | None) -> list[Draw]:
    """The images of an epoch in order, of `count`; a last batch that is not full is left out."""
    full = count // settings.batch * settings.batch
    if rare is not None:
        return rare.epoch(settings.seed, epoch, full)
    return [Draw(index, index) for index in epoch_order(settings.seed, epoch, count)[:full]]


def own_draws(drawn: Sequence[Draw], batch: int, *, first: int, process: int, processes: int) -> list[Draw]:
    """Of the images of an epoch, from step `first` on, one process's share of the batches, in order."""
    share = batch // processes
    steps = range(first * batch + process * share, len(drawn), batch)
    return [draw for start in steps for draw in drawn[start : start + share]]


def augment(
    rng: np.random.Generator, arrays: tuple[Pixels, ...], settings: TrainSettings, wanted: int | None = None
) -> tuple[Pixels, ...]:
    """What happens to images (H, W, 3) and labels (H, W) alike: crop, flip and, where set, rescaling and cutout.

    wanted  the class that the crop of the second array, a label, should have; crops are drawn up to `CROPS` times
    """
    cropped = _crop(rng, arrays, settings)
    if wanted is not None:
        enough = min(settings.rare_class_pixels or 1, int((arrays[1] == wanted).sum())) / 2
        for _ in range(CROPS - 1):
            if np.count_nonzero(cropped[1] == wanted) >= enough:
                break
            cropped = _crop(rng, arrays, settings)
    return cut_out(rng, cropped) if settings.cutout else cropped


def _crop(rng: np.random.Generator, arrays: tuple[Pixels, ...], settings: TrainSettings) -> tuple[Pixels, ...]:
    assert settings.crop is not None, "settings must be resolved"
    if settings.scale == (1.0, 1.0):
        return crop_and_flip(rng, arrays, settings.crop)
    return rescale_crop_and_flip(rng, arrays, settings.crop, settings.scale)


def labelled(dataset: Dataset, sample: Sample, size: Size) -> Pixels:
    """An image and its train ids at `size`, as one array (h, w, 4). Raises DataError where they cannot be read."""
    image, label = read_pair(dataset, sample)
    return np.dstack([resize_image(image, size), resize_label(label, size)])
