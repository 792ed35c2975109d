"""What train.json says of a training: what decides its weights, and versions for the record."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from zodi import __version__
from zodi.data import Dataset, read_image
from zodi.errors import DataError, ModelError
from zodi.segmenter.checkpoint import WEIGHTS
from zodi.segmenter.checks import stated_size
from zodi.segmenter.settings import TrainSettings


def describe(dataset: Dataset, settings: TrainSettings, init: Path | None = None) -> dict[str, Any]:
    """What train.json says of a training: settings and data decide the weights, versions are for the record.

    "files" has the bytes of each file, so that a resumed run can name those that changed.
    """
    files = "\n".join(f"{s.key} {file_bytes(s.image)} {file_bytes(s.label)}" for s in dataset.samples)
    named = [path for s in dataset.samples for path in (s.image, s.label) if path is not None]
    names = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "accelerate", "pillow", "numpy")
    return {
        "settings": settings.described() | {"init": init and weights_digest(init)},
        "data": {
            "label_set": dataset.label_set.name,
            "classes": list(dataset.label_set.names),
            "label_coding": dataset.label_coding,
            "images": len(dataset.samples),
            "files_sha256": hashlib.sha256(files.encode(errors="surrogateescape")).hexdigest(),
        },
        "versions": {"zodi": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in names},
        "files": {path.relative_to(dataset.root).as_posix(): file_bytes(path) for path in named},
    }


def weights_digest(init: Path) -> str:
    """sha256 of a checkpoint's weights, or of a file of them, 16 hexadecimal digits. Raises ModelError without any."""
    path = init if init.is_file() else init / WEIGHTS
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"{init}: is no checkpoint ({path.name}: {error.strerror}): check the path") from None


def file_bytes(path: Path | None) -> int:
    """The size of a file: a cheap sign of other content under the same name."""
    try:
        return path.stat().st_size if path is not None else 0
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None


def image_size(dataset: Dataset) -> tuple[int, int]:
    """(height, width) of the first image whose header can be read. Raises DataError where there is none."""
    if not dataset.samples:
        raise DataError(f"{dataset.root}: has no images: check --root, --split and --condition")
    sizes = (stated_size(sample.image) for sample in dataset.samples)
    size = next((size for size in sizes if size is not None), None)
    if size is not None:
        return size
    height, width, _ = read_image(dataset.samples[0].image).shape  # says what is wrong
    return height, width
