"""What is looked at before an adaptation's first step: source, synthetic images, their masks, and what is kept out."""

from collections.abc import Iterator, Sequence
from functools import partial

from zodi.adapt.loading import files_of_partner, masked
from zodi.adapt.pairs import Pair
from zodi.adapt.settings import AdaptSettings
from zodi.ahead import map_ahead
from zodi.data import Dataset, read_image
from zodi.labels import Ids
from zodi.segmenter.checks import (
    AHEAD,
    check_pairs,
    check_trainable,
    check_valid,
    labels_of,
    stated_size,
)
from zodi.segmenter.failures import Failures
from zodi.segmenter.settings import TrainSettings


def check_adaptation(
    dataset: Dataset,
    training: Sequence[Pair],
    kept_out: Sequence[Pair],
    settings: TrainSettings,
    adapting: AdaptSettings,
    failures: Failures,
    workers: int,
) -> None:
    """Raise DataError where pairs do not fit, by their headers, or there is nothing to learn or to score.

    training, kept_out  the pairs to train on, and to score. The settings must be resolved
    """
    root, size = str(dataset.root), settings.size
    assert size is not None
    check_pairs(dataset, [pair.sample for pair in training], failures, workers, settings.batch)
    labels = labels_of(dataset, (pair.sample for pair in training), failures, size)
    check_trainable(dataset.label_set, labels, root, failures)
    if adapting.baseline is None:
        check_partners(training, failures, workers)
        synthetic = partner_labels(dataset, training, failures, size)
        check_valid(synthetic, f"{root}: the synthetic images, with their masks,", failures)
    if not kept_out:
        return
    check_pairs(dataset, [pair.sample for pair in kept_out], failures, workers, 1)
    held = f"{root}: what --holdout {adapting.holdout} keeps out ({len(kept_out)} images)"
    if adapting.validate == "synthetic":
        check_partners(kept_out, failures, workers)
        check_valid(partner_labels(dataset, kept_out, failures, size), f"{held}, with masks,", failures)
    else:
        check_valid(labels_of(dataset, (pair.sample for pair in kept_out), failures, size), held, failures)


def check_partners(pairs: Sequence[Pair], failures: Failures, workers: int) -> None:
    """Find synthetic images that are of no image format, by their headers."""

    def check(pair: Pair) -> None:
        for partner in pair.partners:
            if stated_size(partner.image) is None:
                failures.read(files_of_partner(pair.sample, partner), partial(read_image, partner.image))

    for _ in map_ahead(check, pairs, workers, AHEAD * workers):
        pass


def partner_labels(dataset: Dataset, pairs: Sequence[Pair], failures: Failures, size: tuple[int, int]) -> Iterator[Ids]:
    """The train ids (h, w) of all synthetic images, at `size`, void where their masks say so."""
    for pair in pairs:
        for label in labels_of(dataset, [pair.sample], failures, size):
            for partner in pair.partners:
                ids = failures.read(files_of_partner(pair.sample, partner), partial(masked, partner, label))
                if ids is not None:
                    yield ids
