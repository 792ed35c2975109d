"""How many pixels each class has in the labels of a training, and the weights of classes that follow from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample
from zodi.domains import read_toml
from zodi.errors import SettingsError
from zodi.segmenter.checks import AHEAD, labels_of
from zodi.segmenter.failures import Failures
from zodi.segmenter.metrics import Counts, Ratios
from zodi.segmenter.settings import CLASS_WEIGHTS, Size


def count_pixels(
    dataset: Dataset, samples: Sequence[Sample], size: Size, failures: Failures, workers: int = 2
) -> Counts:
    """Pixels of each class, (N, C), in the label of each sample at `size`; none in one that cannot be read."""
    classes = dataset.label_set.num_classes

    def count(sample: Sample) -> Counts:
        for ids in labels_of(dataset, [sample], failures, size):
            return np.bincount(ids.ravel(), minlength=256)[:classes]
        return np.zeros(classes, np.int64)

    return np.stack(list(map_ahead(count, samples, workers, AHEAD * workers)))


def class_weights(wanted: str | Mapping[str, float], counts: Counts, names: Sequence[str]) -> list[float]:
    """A weight for each class; 1 for a class that `wanted` does not name, or that has no pixel.

    wanted  "balanced": inverse to the pixels of the class, of mean 1 over all pixels; "median-frequency": median of the
            frequencies / frequency, a class's being its share in the images that have it (Eigen and Fergus,
            arXiv 1411.4734); or weights by name
    counts  (N, C) of each image

    Raises SettingsError for the name of no class.
    """
    if not isinstance(wanted, str):
        unknown = next((name for name in wanted if name not in names), None)
        if unknown is not None:
            raise SettingsError(f"class_weights names {unknown!r}, which is no class: allowed are {', '.join(names)}")
        return [float(wanted.get(name, 1.0)) for name in names]
    pixels = counts.sum(axis=0)
    present = pixels > 0
    weights: Ratios = np.ones(len(names))
    if wanted == "balanced":
        weights[present] = pixels.sum() / (present.sum() * pixels[present])
    else:
        around = np.array([counts[counts[:, c] > 0].sum() for c in np.flatnonzero(present)])
        frequencies = pixels[present] / around
        weights[present] = np.median(frequencies) / frequencies
    return [float(weight) for weight in weights]


def read_class_weights(text: str) -> str | dict[str, float]:
    """What `--class-weights` says: "balanced", "median-frequency", NAME=W,... or a TOML file of such lines.

    Raises SettingsError where it is none of them.
    """
    if text in CLASS_WEIGHTS:
        return text
    if text.endswith(".toml"):
        table: Mapping[str, object] = read_toml(Path(text))
    else:
        pairs = [part.partition("=") for part in text.split(",")]
        table = {name.strip(): _number(value) for name, _, value in pairs}
    wrong = next((name for name, value in table.items() if isinstance(value, bool | str | dict | list)), None)
    if wrong is not None:
        raise SettingsError(
            f"class weights {text!r}: {wrong!r} has no number: write {', '.join(CLASS_WEIGHTS)}, "
            "NAME=WEIGHT,... or a .toml file of NAME = WEIGHT"
        )
    return {name: float(str(value)) for name, value in table.items()}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
