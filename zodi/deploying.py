"""From a checkpoint and data sets to a deployed file: the arrays that `zodi.export.segmenter` asks for."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zodi.data import Dataset, open_dataset, read_image
from zodi.data.dataset import Sample
from zodi.data.label_meaning import check_labels
from zodi.engines.bundle import file_sha256
from zodi.errors import SettingsError
from zodi.export.acceptance import Samples
from zodi.export.segmenter import SegmenterChoice as SegmenterChoice
from zodi.export.segmenter import describe
from zodi.export.segmenter import export_segmenter as write_segmenter
from zodi.export.triton import write_repository
from zodi.labels import CITYSCAPES_19, IGNORE
from zodi.predicting import find_images
from zodi.segmenter.checkpoint import WEIGHTS, load_checkpoint
from zodi.segmenter.checks import all_void
from zodi.segmenter.evaluate import check_classes, set_name
from zodi.segmenter.images import Pixels, read_pair, resize_image, resize_label
from zodi.segmenter.info import FileInfo
from zodi.town import SMALLEST, render

DESCRIPTION = "dataset.json"
SCENES = 8  # rendered where no data set is given
FIRST_SCENE = 10**9  # far from the seeds that data sets are made with

Size = tuple[int, int]


def export_segmenter(
    checkpoint: Path,
    output: Path,
    choice: SegmenterChoice | None = None,
    *,
    dataset: Dataset | None = None,
    samples: int = 100,
    calibrate: Sequence[str] = (),
    calibration_images: int = 128,
    triton: Path | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Export a checkpoint as one file, compared with PyTorch before it is left there; returns the report.

    dataset             labelled images to compare on, the first `samples` of them; None: rendered street scenes
    calibrate           for int8: data sets and folders of images, source and synthetic, each as DIR or LAYOUT=DIR
    calibration_images  how many of them, evenly from all
    triton              also write a model repository for NVIDIA's Triton server there

    Raises ModelError where the file is refused; SettingsError, DataError, EngineError and OutputError.
    """
    choice = choice or SegmenterChoice()
    if choice.precision == "int8" and not calibrate:
        raise SettingsError("int8 needs images to calibrate on: give --calibrate DIR, source and synthetic ones")
    if samples < 1 or calibration_images < 1:
        raise SettingsError("the number of samples and of calibration images must be 1 or more")
    segmenter = load_checkpoint(checkpoint)
    file = describe(segmenter, choice, file_sha256(checkpoint / WEIGHTS))
    if dataset is not None:
        check_classes(segmenter, dataset)
    compared = scenes(file, SCENES) if dataset is None else labelled(dataset, file, samples)
    if dataset is not None:
        check_labels(dataset, notify)
    report = write_segmenter(
        segmenter,
        output,
        file,
        choice,
        compared,
        calibration_arrays(calibrate, file, calibration_images),
        notify=notify,
    )
    if triton is not None:
        write_repository(triton, output, file)
    return report


def labelled(dataset: Dataset, file: FileInfo, count: int) -> Samples:
    """The first images of a data set and their labels, as the file takes them."""
    pairs = [read_pair(dataset, sample) for sample in dataset.samples[:count]]
    if all((label == IGNORE).all() for _, label in pairs):
        raise all_void(f"{dataset.root}, {len(pairs)} images")
    return Samples(
        f"{len(pairs)} images of {set_name(dataset)}",
        [fit_image(image, file) for image, _ in pairs],
        [fit_label(label, file) for _, label in pairs],
    )


def scenes(file: FileInfo, count: int) -> Samples:
    """Rendered street scenes; with labels where the model has the classes of Cityscapes."""
    size = max(file.model.size[0], SMALLEST[0]), max(file.model.size[1], SMALLEST[1])
    pairs = [render(FIRST_SCENE + i, "clear", size) for i in range(count)]
    known = file.model.classes == CITYSCAPES_19.names
    return Samples(
        f"{count} rendered street scenes",
        [fit_image(image, file) for image, _ in pairs],
        [fit_label(label, file) for _, label in pairs] if known else None,
    )


def calibration_arrays(places: Sequence[str], file: FileInfo, count: int) -> Iterator[Pixels]:
    """Images (H, W, 3) as the file takes them: about `count` in all, as many from each place, spread over it."""
    for i, place in enumerate(places):
        paths = image_paths(place)
        share = min(len(paths), count // len(places) + (i < count % len(places)))
        for chosen in np.linspace(0, len(paths) - 1, share).round().astype(int):
            yield fit_image(read_image(paths[chosen]), file)


def image_paths(place: str) -> list[Path]:
    """The images of a data set (LAYOUT=DIR, or DIR with dataset.json) or of a plain folder, labels left out."""
    layout, equals, directory = place.partition("=")
    if equals or (Path(place) / DESCRIPTION).is_file():
        dataset = open_dataset(layout if equals else None, Path(directory if equals else place), need_labels=False)
        found: tuple[Sample, ...] = dataset.samples
        return [sample.image for sample in found]
    return list(find_images([place]).values())


def fit_image(image: Pixels, file: FileInfo) -> Pixels:
    """(H, W, 3) to the file's size: resized, or where the file sees windows the one in the middle."""
    if file.fit == "resize":
        return resize_image(image, file.model.size)
    return _middle(image, file.model.size, "edge")


def fit_label(label: Pixels, file: FileInfo) -> Pixels:
    """Train ids (H, W) to the file's size, as `fit_image`."""
    if file.fit == "resize":
        return resize_label(label, file.model.size)
    return _middle(label, file.model.size, "constant", constant_values=file.model.ignore)


def _middle(array: Pixels, size: Size, mode: Any, **fill: int) -> Pixels:
    missing = [max(0, wanted - side) for wanted, side in zip(size, array.shape, strict=False)]
    array = np.pad(array, [(0, missing[0]), (0, missing[1]), *[(0, 0)] * (array.ndim - 2)], mode, **fill)
    top, left = ((side - wanted) // 2 for side, wanted in zip(array.shape, size, strict=False))
    return np.ascontiguousarray(array[top : top + size[0], left : left + size[1]])
