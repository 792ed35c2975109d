"""Training batches: decoded once where memory allows, augmented by threads, in an order that depends only on seeds."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from zodi.ahead import map_ahead
from zodi.data import Dataset
from zodi.segmenter.augment import crop_and_flip, epoch_order, generator, jitter_colours
from zodi.segmenter.images import InputForm, Pixels, read_pair, resize_image, resize_label, to_input
from zodi.segmenter.loop import Batch
from zodi.segmenter.settings import TrainSettings

AHEAD = 3  # batches that are prepared while the net works
CACHE_BYTES = 2 * 2**30  # resized images and labels that are kept in memory, for each process


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
    ) -> None:
        assert settings.size is not None and settings.crop is not None, "settings must be resolved"
        self.steps = len(dataset.samples) // settings.batch
        self._dataset, self._settings, self._form, self._workers = dataset, settings, form, workers
        self._process, self._share = process, settings.batch // processes
        self._size, self._crop = settings.size, settings.crop
        fits = len(dataset.samples) * 4 * self._size[0] * self._size[1] <= CACHE_BYTES
        self._cache: dict[int, tuple[Pixels, Pixels]] | None = {} if fits else None

    def __call__(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""
        order = epoch_order(self._settings.seed, epoch, len(self._dataset.samples))
        mine = [
            index
            for step in range(first, self.steps)
            for index in order[step * self._settings.batch :][self._process * self._share :][: self._share]
        ]
        items = map_ahead(lambda index: self._item(epoch, index), mine, self._workers, AHEAD * self._share)
        while pairs := list(islice(items, self._share)):
            images, labels = zip(*pairs, strict=True)
            yield {
                "image": torch.stack([to_input(image, self._form) for image in images]),
                "label": torch.from_numpy(np.stack(labels)).long(),
            }

    def _item(self, epoch: int, index: int) -> tuple[Pixels, Pixels]:
        rng = generator(self._settings.seed, epoch, index)
        image, label = crop_and_flip(rng, self._decoded(index), self._crop)
        return (jitter_colours(rng, image) if self._settings.jitter else image), label

    def _decoded(self, index: int) -> tuple[Pixels, Pixels]:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        image, label = read_pair(self._dataset, self._dataset.samples[index])
        pair = resize_image(image, self._size), resize_label(label, self._size)
        if self._cache is not None:
            self._cache[index] = pair
        return pair
