"""Images of any size through a deployed segmenter, and what `zodi predict` writes; only checkpoints need PyTorch."""

import glob
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from PIL import Image

from zodi.ahead import map_ahead
from zodi.data import read_image
from zodi.engines.segmenters import open_segmenter
from zodi.errors import DataError
from zodi.files import write_atomic
from zodi.labels import Colour
from zodi.segmenter.deployed import predict_sizes
from zodi.segmenter.images import Pixels
from zodi.segmenter.pictures import overlay

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"))
LABELS, OVERLAYS = "labels", "overlays"


@dataclass
class Predicted:
    """What `predict_images` did: files written by key, and images that could not be read by path."""

    labels: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def predict_images(
    model: Path,
    places: Sequence[str],
    output: Path,
    *,
    overlays: bool = True,
    batch: int = 1,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 2,
    on_progress: Callable[[int, int, str], None] = lambda done, total, key: None,
) -> Predicted:
    """Write `labels/KEY.png`, train ids at the image's own size in the classes' colours, and `overlays/KEY.png`.

    model   a checkpoint directory or a file that `zodi export-segmenter` made
    places  images, folders and glob patterns; KEY is an image's path within its folder, without suffix
    batch   images per call, where the file takes so many

    An image that cannot be read is left out and told. Raises DataError where there is no image or two have one key,
    ModelError, EngineError and OutputError.
    """
    images = find_images(places)
    segmenter = open_segmenter(model, device=device, threads=threads)
    start = time.perf_counter()
    result = Predicted()

    def load(item: tuple[str, Path]) -> tuple[str, Pixels | DataError]:
        try:
            return item[0], read_image(item[1])
        except DataError as error:
            return item[0], error

    read = map_ahead(load, images.items(), workers, workers + batch)
    done = 0
    while items := list(islice(read, batch)):
        good = [(key, image) for key, image in items if not isinstance(image, DataError)]
        result.failed |= {str(images[key]): str(error) for key, error in items if isinstance(error, DataError)}
        for (key, image), ids in zip(good, predict_sizes(segmenter, [image for _, image in good]), strict=True):
            path = result.labels[key] = output / LABELS / f"{key}.png"
            write_atomic(path, label_png(ids, segmenter.info.palette), sync=False)
            if overlays:
                shown = Image.fromarray(overlay(image, ids, segmenter.info.palette))
                write_atomic(output / OVERLAYS / f"{key}.png", _png(shown), sync=False)
        done += len(items)
        on_progress(done, len(images), items[-1][0])
    result.seconds = time.perf_counter() - start
    return result


def find_images(places: Sequence[str]) -> dict[str, Path]:
    """Image files by key, sorted: of a folder all in it and below, of a pattern all it matches.

    Raises DataError for a place without images and for two images with one key.
    """
    found: dict[str, Path] = {}
    for place in places:
        root, paths = Path(place), [Path(place)]
        if root.is_dir():
            paths = [path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES]
        elif not root.exists():
            paths = [Path(name) for name in glob.glob(place, recursive=True) if Path(name).is_file()]  # noqa: PTH207
        if not paths:
            what = "an empty folder: it has" if root.is_dir() else "matches"
            raise DataError(f"{place}: {what} no image ({', '.join(sorted(SUFFIXES))}): check the path")
        for path in sorted(paths):
            key = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("").as_posix()
            if key in found:
                raise DataError(f"{path}: is called as {found[key]} is: predict them into two folders")
            found[key] = path
    return found


def label_png(ids: Pixels, palette: tuple[Colour, ...]) -> bytes:
    """Train ids (H, W) as a PNG whose pixels are the ids, and whose palette shows them in the classes' colours."""
    picture = Image.fromarray(ids)
    picture.putpalette([value for colour in palette for value in colour])
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
