"""Batches of pairs: one crop and flip for a pair and its label, colours changed in each image for itself."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from zodi.adapt.distort import distort
from zodi.adapt.pairs import Pair, Partner
from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample, read_image
from zodi.data.images import decode
from zodi.errors import DataError
from zodi.labels import IGNORE
from zodi.segmenter.augment import change_pixels, generator
from zodi.segmenter.cache import ImageCache
from zodi.segmenter.checks import files_of
from zodi.segmenter.failures import Failures
from zodi.segmenter.images import InputForm, Pixels, resize_image, resize_label, to_input
from zodi.segmenter.loading import AHEAD, augment, draws, labelled, own_draws, read_or_next
from zodi.segmenter.loop import Batch
from zodi.segmenter.rare_classes import Draw, RareClasses
from zodi.segmenter.settings import Size, TrainSettings


class PairBatches:
    """Batches {"image", "synthetic": (B, 3, h, w) float32, "label", "synthetic_label": (B, h, w) int64, 255 = void}.

    B is the share of one of `processes` in the batch of the settings. An epoch has every source image once, unless
    `rare` draws them; where a pair has several partners, epochs take turns. Labels differ where a partner has a mask.
    """

    def __init__(
        self,
        dataset: Dataset,
        pairs: Sequence[Pair],
        settings: TrainSettings,
        form: InputForm,
        *,
        baseline: str | None = None,
        workers: int = 2,
        process: int = 0,
        processes: int = 1,
        cache: Path | None = None,
        failures: Failures | None = None,
        rare: RareClasses | None = None,
    ) -> None:
        """Prepare them.

        baseline  what stands in for partners, see `AdaptSettings`; pairs may then have none
        failures  what cannot be read, whose place the next pair takes; None: the first one is an error
        rare      what pairs are drawn by; None: each once in an epoch
        """
        assert settings.size is not None, "settings must be resolved"
        self.steps = len(pairs) // settings.batch
        self._dataset, self._pairs, self._settings, self._form = dataset, pairs, settings, form
        self._baseline, self._workers = baseline, workers
        self._process, self._processes = process, processes
        self._size = settings.size
        expected = sum(1 + len(pair.partners) for pair in pairs)
        self._cache = ImageCache(settings.size, cache, labels=dataset.label_coding, expected=expected)
        self._failures, self._rare = failures or Failures(), rare

    def __call__(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""
        share = self._settings.batch // self._processes
        drawn = draws(self._settings, epoch, len(self._pairs), self._rare)
        mine = own_draws(drawn, self._settings.batch, first=first, process=self._process, processes=self._processes)
        items = map_ahead(lambda draw: self._item(epoch, draw), mine, self._workers, AHEAD * share)
        while found := list(islice(items, share)):
            images, labels, synthetic, synthetic_labels = zip(*found, strict=True)
            yield {
                "image": torch.stack([to_input(image, self._form) for image in images]),
                "synthetic": torch.stack([to_input(image, self._form) for image in synthetic]),
                "label": torch.from_numpy(np.stack(labels)).long(),
                "synthetic_label": torch.from_numpy(np.stack(synthetic_labels)).long(),
            }

    def _item(self, epoch: int, draw: Draw) -> tuple[Pixels, Pixels, Pixels, Pixels]:
        rng = generator(self._settings.seed, epoch, draw.number)
        turn = epoch + draw.number - draw.index  # an image that is drawn twice may come with two of its partners
        source, other = read_or_next(draw.index, len(self._pairs), lambda i: self._read(turn, i), self._dataset)
        arrays = (source[..., :3], source[..., 3], other[..., :3], other[..., 3])
        cut = augment(rng, arrays, self._settings, draw.wanted)
        image, label, synthetic, synthetic_label = cut
        if self._baseline == "augment":
            synthetic = distort(rng, synthetic)
        return (
            change_pixels(rng, image, self._settings),
            label,
            change_pixels(rng, synthetic, self._settings),
            synthetic_label,
        )

    def _read(self, turn: int, index: int) -> tuple[Pixels, Pixels] | None:
        pair, size = self._pairs[index], self._size
        files = files_of(pair.sample)
        source = self._failures.read(
            files, lambda: self._cache.get(files, lambda: labelled(self._dataset, pair.sample, size))
        )
        if source is None or self._baseline is not None:
            return None if source is None else (source, source)
        partner = pair.partners[(turn + index) % len(pair.partners)]
        others = files_of_partner(pair.sample, partner)
        other = self._failures.read(
            others, lambda: self._cache.get(others, lambda: synthetic_labelled(partner, source[..., 3], size))
        )
        return None if other is None else (source, other)


def files_of_partner(sample: Sample, partner: Partner) -> tuple[Path, ...]:
    """The files that a synthetic image and its label are read from."""
    return (partner.image, *files_of(sample)[1:], *([partner.mask] if partner.mask else []))


def synthetic_labelled(partner: Partner, label: Pixels, size: Size | None = None) -> Pixels:
    """A synthetic image with its source's train ids, void where its mask says so, as one array (h, w, 4).

    label  (H, W) train ids of the source, at any size
    size   (height, width) of the array; None: that of the synthetic image

    Raises DataError where image or mask cannot be read.
    """
    image = read_image(partner.image)
    size = size or (image.shape[0], image.shape[1])
    return np.dstack([resize_image(image, size), masked(partner, resize_label(label, size))])


def read_partners(
    pair: Pair, label: Pixels, failures: Failures, size: Size | None = None
) -> list[tuple[Partner, Pixels]]:
    """The synthetic images of a pair that can be read, each as by `synthetic_labelled`."""
    found = [
        (p, failures.read(files_of_partner(pair.sample, p), partial(synthetic_labelled, p, label, size)))
        for p in pair.partners
    ]
    return [(partner, array) for partner, array in found if array is not None]


def masked(partner: Partner, label: Pixels) -> Pixels:
    """Train ids (h, w), void where the mask of a synthetic image says so. Raises DataError as `synthetic_labelled`."""
    if partner.mask is None:
        return label
    mask = np.asarray(decode(partner.mask)[0])
    if mask.ndim != 2:
        raise DataError(f"{partner.mask}: is not a mask of one channel: transfer with --mask-disagreement again")
    size = (label.shape[0], label.shape[1])
    return np.where(resize_label(mask, size) == IGNORE, np.uint8(IGNORE), label)
