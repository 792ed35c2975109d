"""Training batches: decoded once where memory allows, augmented by threads, in an order that depends only on seeds."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample
from zodi.segmenter.augment import change_pixels, crop_and_flip, cut_out, epoch_order, generator
from zodi.segmenter.cache import ImageCache
from zodi.segmenter.images import InputForm, Pixels, read_pair, resize_image, resize_label, to_input
from zodi.segmenter.loop import Batch
from zodi.segmenter.settings import Size, TrainSettings

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
    ) -> None:
        assert settings.size is not None, "settings must be resolved"
        self.steps = len(dataset.samples) // settings.batch
        self._dataset, self._settings, self._form, self._workers = dataset, settings, form, workers
        self._process, self._processes = process, processes
        self._size = settings.size
        self._cache = ImageCache(settings.size, cache, labels=dataset.label_coding, expected=len(dataset.samples))

    def __call__(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""
        share = self._settings.batch // self._processes
        mine = own_indices(
            self._settings,
            epoch,
            len(self._dataset.samples),
            first=first,
            process=self._process,
            processes=self._processes,
        )
        items = map_ahead(lambda index: self._item(epoch, index), mine, self._workers, AHEAD * share)
        while pairs := list(islice(items, share)):
            images, labels = zip(*pairs, strict=True)
            yield {
                "image": torch.stack([to_input(image, self._form) for image in images]),
                "label": torch.from_numpy(np.stack(labels)).long(),
            }

    def _item(self, epoch: int, index: int) -> tuple[Pixels, Pixels]:
        rng = generator(self._settings.seed, epoch, index)
        sample = self._dataset.samples[index]
        arrays = self._cache.get(files_of(sample), lambda: labelled(self._dataset, sample, self._size))
        image, label = augment(rng, (arrays[..., :3], arrays[..., 3]), self._settings)
        return change_pixels(rng, image, self._settings), label


def own_indices(
    settings: TrainSettings, epoch: int, count: int, *, first: int, process: int, processes: int
) -> list[int]:
    """The indices of an epoch, from step `first` on, that are one process's share of the batches, in order."""
    order = epoch_order(settings.seed, epoch, count)
    share = settings.batch // processes
    return [
        index
        for step in range(first, count // settings.batch)
        for index in order[step * settings.batch :][process * share :][:share]
    ]


def augment(rng: np.random.Generator, arrays: tuple[Pixels, ...], settings: TrainSettings) -> tuple[Pixels, ...]:
    """What happens to images (H, W, 3) and labels (H, W) alike: crop, flip and, where asked for, cutout."""
    assert settings.crop is not None, "settings must be resolved"
    arrays = crop_and_flip(rng, arrays, settings.crop)
    return cut_out(rng, arrays) if settings.cutout else arrays


def labelled(dataset: Dataset, sample: Sample, size: Size) -> Pixels:
    """An image and its train ids at `size`, as one array (h, w, 4). Raises DataError where they cannot be read."""
    image, label = read_pair(dataset, sample)
    return np.dstack([resize_image(image, size), resize_label(label, size)])


def files_of(sample: Sample) -> tuple[Path, ...]:
    """The files that a sample is read from."""
    return tuple(path for path in (sample.image, sample.label) if path is not None)
