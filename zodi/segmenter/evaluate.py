"""A segmenter's scores on labelled data sets, each condition for itself, at a scale that is declared."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample
from zodi.engines.segmenters import DeployedSegmenter
from zodi.errors import DataError, SettingsError
from zodi.segmenter.checks import all_void, check_valid, files_of, labels_of, one_class
from zodi.segmenter.class_views import ALL_CLASSES, ClassView
from zodi.segmenter.failures import Failures
from zodi.segmenter.images import Pixels, read_pair, resize_image, resize_label
from zodi.segmenter.metrics import Counts, class_iou, count_confusion, mean_iou, pixel_accuracy
from zodi.segmenter.model import Model, predict_ids
from zodi.segmenter.predict import WHOLE, PredictSettings

Size = tuple[int, int]
ALL = "all"  # the condition of a row that adds up several

# of one image: the sample, the image and train ids at the size of scoring, and the prediction
Look = Callable[["Part", Sample, Pixels, Pixels, Pixels], None]


@dataclass(frozen=True)
class EvaluateSettings:
    """At which scale a segmenter is scored.

    scale     (height, width) that images are resized to; "source": as they are; None: the checkpoint's size
    score_at  "scale": labels are resized to the image's scale too, as the paper's evaluation does;
              "label": scores are enlarged to the label's own size, as the data sets' own evaluations do
    predict   windows, scales, mirror image
    batch     images per forward pass, where neighbours have one size
    view      classes that are merged, and subsets that are averaged too
    """

    scale: Size | Literal["source"] | None = None
    score_at: Literal["scale", "label"] = "scale"
    predict: PredictSettings = WHOLE
    batch: int = 4
    view: ClassView = ALL_CLASSES

    def __post_init__(self) -> None:
        if self.score_at not in ("scale", "label"):
            raise SettingsError(f"score_at is {self.score_at!r}, allowed are scale, label")
        if self.batch < 1:
            raise SettingsError(f"batch is {self.batch}, allowed is 1 or more")

    def declared(self, segmenter: Model) -> str:
        """The scale in words, e.g. "512x1024" or "512x1024, scored at the label's size"."""
        self = fitted(self, segmenter)
        size = self.scale or segmenter.info.size
        text = size if isinstance(size, str) else _text(size)
        text += f", windows {self.predict.window[0]}x{self.predict.window[1]}" if self.predict.window else ""
        if self.predict.scales != (1.0,):
            text += f", scales {' '.join(f'{scale:g}' for scale in self.predict.scales)}"
        text += ", flip" if self.predict.flip else ""
        return text + (", scored at the label's size" if self.score_at == "label" else "")


@dataclass(frozen=True)
class Part:
    """Images that get a row of their own: a data set, or one condition of it."""

    name: str
    condition: str | None
    dataset: Dataset

    @property
    def text(self) -> str:
        """What a message calls it."""
        return f"{self.dataset.root}, {self.condition}" if self.condition else str(self.dataset.root)


@dataclass(frozen=True)
class Score:
    """The counts of a part in a view, (C, C), rows = truth, and the number of its images that could be used."""

    name: str
    condition: str | None
    images: int
    counts: Counts
    classes: tuple[str, ...]
    view: ClassView = ALL_CLASSES

    def as_json(self) -> dict[str, Any]:
        """Fractions 0..1; null for what is absent."""
        subsets = {
            name: _number(mean_iou(self.counts, [self.classes.index(own) for own in subset]))
            for name, subset in self.view.subsets.items()
        }
        return {
            "dataset": self.name,
            "condition": self.condition,
            "images": self.images,
            "miou": _number(mean_iou(self.counts)),
            **({"miou_subsets": subsets} if subsets else {}),
            "pixel_accuracy": _number(pixel_accuracy(self.counts)),
            "iou": {name: _number(iou) for name, iou in zip(self.classes, class_iou(self.counts), strict=True)},
        }


@torch.inference_mode()
def evaluate(
    segmenter: Model,
    datasets: Sequence[Dataset],
    settings: EvaluateSettings | None = None,
    *,
    workers: int = 2,
    failures: Failures | None = None,
    on_image: Look | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> list[Score]:
    """One score for each data set; of ACDC one for each condition, and one over all of them.

    segmenter  on the device that it is to run on; a checkpoint's or an exported file
    failures   images and labels that cannot be used, which are left out; None: the first is an error
    on_image   called with each image, its truth and its prediction, e.g. to draw them

    Raises SettingsError for a view that does not fit the segmenter's classes, DataError for more images that cannot be
    used, for labels that are all void, and for data sets of other classes than the segmenter's.
    """
    settings = fitted(settings or EvaluateSettings(), segmenter)
    failures = failures or Failures()  # where nobody is told, nothing is left out
    for dataset in datasets:
        check_classes(segmenter, dataset)
    names = segmenter.info.classes
    classes = settings.view.classes(names)
    groups = [split_conditions(dataset) for dataset in datasets]
    distinguish(groups)
    for part in (part for parts in groups for part in parts):
        check_valid(labels_of(part.dataset, part.dataset.samples, failures), part.text, failures)
    total = sum(len(part.dataset.samples) for parts in groups for part in parts)
    scores: list[Score] = []
    done = 0
    for parts in groups:
        rows: list[Score] = []
        for part in parts:
            counts = np.zeros((len(names),) * 2, np.int64)
            images = 0
            found = predictions(segmenter, part.dataset, settings, workers=workers, failures=failures)
            for sample, image, truth, prediction in found:
                counts += count_confusion(truth, prediction, len(counts), ignore=segmenter.info.ignore)
                images += 1
                done += 1
                if on_image is not None:
                    on_image(part, sample, image, truth, prediction)
                if on_progress is not None:
                    on_progress(done, total, part.name)
            counts = settings.view.counts(counts, names)
            if not counts.any():
                raise all_void(part.text)
            rows.append(Score(part.name, part.condition, images, counts, classes, settings.view))
        if len(rows) > 1:
            summed = np.sum([row.counts for row in rows], axis=0)
            rows.append(replace(rows[0], condition=ALL, images=sum(row.images for row in rows), counts=summed))
        scores += rows
    return scores


def as_json(model: Path, scale: str, scores: Sequence[Score], failures: Sequence[str] = ()) -> dict[str, Any]:
    """What `zodi evaluate --json` writes; failures: where there are any, a line for each file that was left out."""
    content: dict[str, Any] = {"model": str(model), "scale": scale}
    view = scores[0].view
    if view.subsets:
        content["subsets"] = {name: list(subset) for name, subset in view.subsets.items()}
    if view.labels or view.predictions:
        content["merged"] = {"labels": dict(view.labels), "predictions": dict(view.predictions)}
    content["results"] = [score.as_json() for score in scores]
    return content | ({"failures": list(failures)} if failures else {})


def predictions(
    segmenter: Model, dataset: Dataset, settings: EvaluateSettings, *, workers: int, failures: Failures
) -> Iterator[tuple[Sample, Pixels, Pixels, Pixels]]:
    """Sample, image (H, W, 3), train ids (H, W) and predicted train ids (H, W), at the size of scoring, in order."""

    def read(sample: Sample) -> tuple[Sample, Pixels, Pixels] | None:
        pair = failures.read(files_of(sample), lambda: read_pair(dataset, sample))
        return None if pair is None else (sample, *pair)

    found = (item for item in map_ahead(read, dataset.samples, workers, 2 * settings.batch) if item is not None)
    for items in batches_of_one_size(found, settings.batch):
        size = _scale(segmenter, settings, items[0][1])
        scaled = [resize_image(image, size) for _, image, _ in items]
        at_label = settings.score_at == "label"
        wanted = _size(items[0][1]) if at_label else size
        predicted = predict_ids(segmenter, scaled, wanted, settings.predict)
        for (sample, image, label), small, ids in zip(items, scaled, predicted, strict=True):
            yield sample, image if at_label else small, resize_label(label, wanted), ids


def fitted(settings: EvaluateSettings, segmenter: Model) -> EvaluateSettings:
    """The settings that a model can be scored with: a file that slides windows does so, at the images' own scale.

    Raises SettingsError for what only a checkpoint can do.
    """
    if not isinstance(segmenter, DeployedSegmenter):
        return settings
    if settings.predict.scales != (1.0,) or settings.predict.flip:
        raise SettingsError(f"{segmenter.path}: an exported file cannot average passes: score the checkpoint instead")
    window = segmenter.info.size if segmenter.file.fit == "window" else None
    if settings.predict.window not in (None, window):
        raise SettingsError(
            f"{segmenter.path}: was exported with --fit {segmenter.file.fit} at {_text(segmenter.info.size)}: "
            "leave --window out"
        )
    scale = settings.scale or ("source" if window else None)
    return replace(settings, scale=scale, predict=PredictSettings(window=window))


def predict_image(segmenter: Model, image: Pixels, settings: EvaluateSettings) -> Pixels:
    """Train ids (H, W) of an image (H, W, 3) of any size, at its own size."""
    settings = fitted(settings, segmenter)
    scaled = resize_image(image, _scale(segmenter, settings, image))
    return predict_ids(segmenter, [scaled], _size(image), settings.predict)[0]


def batches_of_one_size(
    items: Iterable[tuple[Sample, Pixels, Pixels]], batch: int
) -> Iterator[list[tuple[Sample, Pixels, Pixels]]]:
    """Lists of at most `batch` neighbours whose images have one size."""
    for _, same in groupby(items, key=lambda item: item[1].shape):
        while group := list(islice(same, batch)):
            yield group


def split_conditions(dataset: Dataset) -> list[Part]:
    """The parts of a data set that get a row each: the conditions of ACDC, else the data set."""
    if dataset.name == "acdc" and dataset.condition is None:
        groups = groupby(dataset.samples, key=lambda sample: sample.key.split("/")[0])
        return [
            Part(dataset.name, condition, replace(dataset, samples=tuple(samples), condition=condition))
            for condition, samples in groups
        ]
    return [Part(set_name(dataset), dataset.condition, dataset)]


def distinguish(groups: list[list[Part]]) -> None:
    """Add the name of its folder, else a number, to each data set that would be called as another is."""
    called = [(parts[0].name, parts[0].condition) for parts in groups]
    for number, parts in enumerate(groups):
        name, folder = parts[0].name, parts[0].dataset.root.resolve().name
        if called.count(called[number]) > 1:
            same = [g[0].dataset.root.resolve().name for g in groups].count(folder) > 1
            name = f"{name}-{number + 1}" if same else f"{name}-{folder}"
            groups[number] = [replace(part, name=name) for part in parts]


def set_name(dataset: Dataset) -> str:
    """What a data set is called in results: its layout, or for a folder its own."""
    if dataset.name != "folder":
        return dataset.name
    return dataset.root.resolve().name


def check_classes(segmenter: Model, dataset: Dataset) -> None:
    """Raise DataError unless the label set has exactly the classes of the segmenter, in its order."""
    if not dataset.samples:
        raise DataError(f"{dataset.root}: has no images: check --split and --condition")
    if len(segmenter.info.classes) < 2:
        raise one_class(dataset.label_set)
    if dataset.label_set.names != segmenter.info.classes:
        other = next(
            (
                f"{b!r} where the model has {a!r}"
                for a, b in zip(segmenter.info.classes, dataset.label_set.names, strict=False)
                if a != b
            ),
            f"{len(dataset.label_set.names)} classes where the model has {len(segmenter.info.classes)}",
        )
        raise DataError(
            f"{dataset.root}: label set {dataset.label_set.name!r} has {other}: choose a label set or model that fits"
        )


def _scale(segmenter: Model, settings: EvaluateSettings, image: Pixels) -> Size:
    size = settings.scale or segmenter.info.size
    return _size(image) if isinstance(size, str) else size


def _size(image: Pixels) -> Size:
    return image.shape[0], image.shape[1]


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
