"""Images of any size through a deployed segmenter, and what `zodi predict` writes; only checkpoints need PyTorch."""

import glob
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from PIL import Image

from zodi.ahead import map_ahead
from zodi.data import Problem, read_image
from zodi.data.dataset import in_brief
from zodi.data.layout import pictures, with_suffix
from zodi.data.suffixes import FURTHER_SUFFIXES, IMAGE_SUFFIXES, LABEL_SUFFIXES
from zodi.engines.segmenters import DeployedSegmenter, open_segmenter
from zodi.errors import DataError, FileNameError, SettingsError
from zodi.files import write_atomic
from zodi.labels import Colour
from zodi.memory import is_out_of_memory
from zodi.segmenter.deployed import predict_sizes
from zodi.segmenter.images import Pixels
from zodi.segmenter.pictures import overlay

LABELS, OVERLAYS = "labels", "overlays"
NO_MEMORY = "does not fit into memory: make it smaller, or cut it into parts"
LABEL_PNGS = ("palette", "grey")


@dataclass
class Predicted:
    """What `predict_images` did: files written by key, and images that could not be predicted by path."""

    labels: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def predict_images(
    model: Path,
    places: Sequence[str],
    output: Path,
    *,
    overlays: bool = True,
    labels: str = "palette",
    batch: int = 1,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 2,
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, key: None,
) -> Predicted:
    """Write `labels/KEY.png`, train ids at the image's own size, and `overlays/KEY.png`.

    model   a checkpoint directory or a file that `zodi export-segmenter` made
    places  images, folders and glob patterns; KEY is an image's path within its folder, without suffix
    labels  PNGs of ids with the classes' colours as their "palette", or "grey", which OpenCV reads as ids too
    batch   images per call, where the file takes so many
    notify  told which files of the places are no images to predict, e.g. what an earlier call wrote

    Images are read upright. One that cannot be read or predicted is left out and told. Raises DataError where there is
    no image or two have one key, SettingsError, ModelError, EngineError and OutputError.
    """
    if labels not in LABEL_PNGS:
        raise SettingsError(f"labels is {labels!r}, allowed are {', '.join(LABEL_PNGS)}")
    images = find_images(places, output, notify)
    segmenter = open_segmenter(model, device=device, threads=threads)
    start = time.perf_counter()
    result = Predicted()

    def load(item: tuple[str, Path]) -> tuple[str, Pixels | str]:
        try:
            return item[0], read_image(item[1])
        except DataError as error:
            return item[0], str(error)

    read = map_ahead(load, images.items(), workers, workers + batch)
    done = 0
    while items := list(islice(read, batch)):
        result.failed |= {str(images[key]): image for key, image in items if isinstance(image, str)}
        good = [(key, image) for key, image in items if not isinstance(image, str)]
        for (key, image), ids in zip(good, _predict(segmenter, [image for _, image in good]), strict=True):
            try:
                if ids is None:
                    raise MemoryError
                label = label_png(ids, segmenter.info.palette if labels == "palette" else None)
                shown = overlay(image, ids, segmenter.info.palette) if overlays else None
                result.labels[key] = _write(output, key, label, shown)
            except FileNameError as error:
                result.failed[str(images[key])] = str(error)
            except MemoryError:
                result.failed[str(images[key])] = NO_MEMORY
        done += len(items)
        on_progress(done, len(images), items[-1][0])
    result.seconds = time.perf_counter() - start
    return result


def find_images(
    places: Sequence[str], output: Path | None = None, notify: Callable[[str], None] = lambda message: None
) -> dict[str, Path]:
    """Image files by key, sorted: of a folder all in it and below, of a pattern all it matches.

    output  of a prediction: the folders that it writes to are left out, unless an image in them is given by name
    notify  told what is left out

    Raises DataError for a place without images and for two images with one key.
    """
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for place in places:
        root, paths = Path(place), [Path(place)]
        if root.is_dir():
            paths = _without_own(_readable(pictures(root), problems), output, problems)
        elif not root.exists():
            matches = [Path(name) for name in glob.glob(place, recursive=True)]  # noqa: PTH207
            paths = _without_own([path for path in matches if path.is_file()], output, problems)
        if not paths:
            what = "an empty folder: it has" if root.is_dir() else "matches"
            raise DataError(f"{place}: {what} no image ({', '.join(LABEL_SUFFIXES)} ...): check the path")
        for path in sorted(paths, key=lambda path: (path.suffix.lower() in FURTHER_SUFFIXES, path)):
            key = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("").as_posix()
            if key in found and path.suffix.lower() not in FURTHER_SUFFIXES:
                raise DataError(f"{path}: is called as {found[key]} is: predict them into two folders")
            if key in found:
                problems.append(Problem(path, f"is left out, it is called as {found[key]} is", "name"))
            else:
                found[key] = path
    for line in in_brief(problems):
        notify(line)
    return found


def _readable(paths: list[Path], problems: list[Problem]) -> list[Path]:
    read = with_suffix(paths, IMAGE_SUFFIXES)
    problems += [
        Problem(path, f"is left out, {path.suffix} files are not read: convert it to PNG or JPEG", path.suffix.lower())
        for path in sorted({*paths} - {*read})
    ]
    return read


def _without_own(paths: list[Path], output: Path | None, problems: list[Problem]) -> list[Path]:
    own = [] if output is None else [os.path.realpath(output / name) for name in (LABELS, OVERLAYS)]
    inside = {path for path in paths if any(Path(os.path.realpath(path.parent)).is_relative_to(place) for place in own)}
    problems += [
        Problem(path, "is left out, predictions are written to its folder: choose another -o to predict it", "own")
        for path in sorted(inside)
    ]
    return [path for path in paths if path not in inside]


def _predict(segmenter: DeployedSegmenter, images: Sequence[Pixels]) -> Sequence[Pixels | None]:
    """Train ids of each image; one by one where memory does not hold all, None for one that it does not hold alone."""
    try:
        return predict_sizes(segmenter, images)
    except Exception as error:  # each runtime has its own class for a full memory; the rest goes on up
        if not is_out_of_memory(error):
            raise
    if len(images) == 1:
        return [None]
    return [ids for image in images for ids in _predict(segmenter, [image])]


def _write(output: Path, key: str, label: bytes, shown: Pixels | None) -> Path:
    """Write the label's PNG and the overlay of an image, return the label's path."""
    path = output / LABELS / f"{key}.png"
    write_atomic(path, label, sync=False)
    if shown is not None:
        write_atomic(output / OVERLAYS / f"{key}.png", _png(Image.fromarray(shown)), sync=False)
    return path


def label_png(ids: Pixels, palette: tuple[Colour, ...] | None) -> bytes:
    """Train ids (H, W) as a PNG whose pixels are the ids: in the classes' colours by a palette, or 8-bit grey."""
    picture = Image.fromarray(ids)
    if palette is not None:
        picture.putpalette([value for colour in palette for value in colour])
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
