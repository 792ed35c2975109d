"""What the pixels of each class decide before the first step: weights in the loss, and which images are drawn."""

from collections.abc import Callable, Sequence

import numpy as np

from zodi.data import Dataset, Sample
from zodi.segmenter.class_pixels import class_weights, count_pixels
from zodi.segmenter.failures import Failures
from zodi.segmenter.info import SegmenterInfo
from zodi.segmenter.objective import Supervised, make_supervised
from zodi.segmenter.rare_classes import RareClasses, rare_classes
from zodi.segmenter.settings import TrainSettings


def balance_classes(
    dataset: Dataset,
    samples: Sequence[Sample],
    settings: TrainSettings,
    info: SegmenterInfo,
    failures: Failures,
    workers: int,
    notify: Callable[[str], None],
) -> tuple[Supervised, RareClasses | None]:
    """The supervised loss, and what images are drawn by, where not each once; all labels are read where need be.

    samples  the training's. The settings must be resolved; notify is told of all that comes of the labels

    Raises SettingsError for the weight of no class, and DataError.
    """
    assert settings.size is not None
    weights = rare = None
    counts = np.zeros((0, len(info.classes)), np.int64)
    if settings.rare_class_sampling or isinstance(settings.class_weights, str):
        notify(f"counting the pixels of each class in {len(samples)} labels")
        counts = count_pixels(dataset, samples, settings.size, failures, workers)
    if settings.class_weights is not None:
        weights = class_weights(settings.class_weights, counts, info.classes)
        named = (f"{name} {weight:.3g}" for name, weight in zip(info.classes, weights, strict=True))
        notify(f"class weights: {', '.join(named)}")
    if settings.rare_class_sampling:
        assert settings.rare_class_pixels is not None
        rare = rare_classes(counts, settings.rare_class_sampling, settings.rare_class_pixels)
        shares = (f"{name} {100 * p:.2g}" for name, p in zip(info.classes, rare.probabilities, strict=True))
        notify(f"images are drawn by class, in %: {', '.join(shares)}")
    return make_supervised(settings.loss_terms, weights, info.logits), rare
