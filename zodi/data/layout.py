"""What the layouts share: a request, what was found for it, and how directories are searched."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zodi.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Request:
    """What the user asked for; None is everything. `labels` is the kind of label file."""

    split: str | None
    condition: str | None
    labels: str
    need_labels: bool


@dataclass(frozen=True)
class Found:
    """The files of a data set, each with the key of the image it belongs to.

    expected        where the label of a key should be, for messages
    labels_may_rest the images are a chosen few, so that labels without an image are no problem
    """

    image_root: Path
    images: list[tuple[str, Path]]
    labels: list[tuple[str, Path]]
    expected: Callable[[str], Path]
    labels_may_rest: bool = False


def find_by_endings(
    image_root: Path, label_root: Path, folders: Sequence[str], image_ending: str, label_ending: str
) -> Found:
    """Images `<folder>/**/x<image_ending>.*` and labels `<folder>/**/x<label_ending>.*` under the two roots."""
    images = [
        (key_of(path, image_root), path)
        for folder in folders
        for path in image_files(image_root / folder)
        if path.stem.endswith(image_ending)
    ]
    labels = [
        (key_of(path, label_root).removesuffix(label_ending) + image_ending, path)
        for folder in folders
        if (label_root / folder).is_dir()
        for path in image_files(label_root / folder)
        if path.stem.endswith(label_ending)
    ]
    if not images:
        raise empty(image_root, f"*{image_ending}.png in {', '.join(folders)}")
    return Found(
        image_root, images, labels, lambda key: label_root / f"{key.removesuffix(image_ending)}{label_ending}.png"
    )


def find_by_names(image_root: Path, label_root: Path) -> Found:
    """Images `**/x.*` and labels `**/x.*` under the two roots, the same names without suffix."""
    images = [(key_of(path, image_root), path) for path in image_files(image_root)]
    labels = [(key_of(path, label_root), path) for path in image_files(label_root)] if label_root.is_dir() else []
    if not images:
        raise empty(image_root, ", ".join(IMAGE_SUFFIXES))
    return Found(image_root, images, labels, lambda key: label_root / f"{key}.png")


def image_files(directory: Path) -> list[Path]:
    """All image files below a directory, sorted; links are followed, hidden files are not files of the data set.

    Raises DataError for a directory that cannot be listed.
    """
    return [Path(path) for path in sorted(_walk(str(directory), ()))]


def key_of(path: Path, root: Path) -> str:
    """The path under `root` without suffix, with "/"."""
    return path.relative_to(root).as_posix().removesuffix(path.suffix)


def subfolders(directory: Path) -> list[str]:
    """Names of the folders in a directory, sorted. Raises DataError for a directory that cannot be listed."""
    return sorted(entry.name for entry in _entries(str(directory)) if entry.is_dir())


def need_directories(root: Path, *directories: Path) -> None:
    """Raise DataError, with all that were expected, where one of the directories is missing."""
    missing = next((d for d in directories if not d.is_dir()), None)
    if missing is not None:
        expected = " and ".join(f"{d.relative_to(root)}/" for d in directories)
        raise DataError(f"{missing}: no such directory: give --root the directory that holds {expected}")


def need_split(split: str, known: Sequence[str], root: Path) -> None:
    """Raise DataError, with those that exist, for a split that does not."""
    if split not in known:
        raise DataError(f"unknown split {split!r}: in {root} there is {', '.join(known) or 'none'}")


def refuse_option(option: str, value: str | None, layout: str, advice: str) -> None:
    """Raise DataError where an option is given that a layout has no use for."""
    if value is not None:
        raise DataError(f"--{option} {value}: a data set of layout {layout} has no {option}s: {advice}")


def empty(directory: Path, expected: str) -> DataError:
    """The error for a directory without images."""
    return DataError(f"{directory}: no images: expected {expected}; check --root and --dataset")


def _walk(directory: str, above: tuple[str, ...]) -> list[str]:
    real = os.path.realpath(directory)
    if real in above:  # a link to one of its own parents
        return []
    paths = []
    for entry in _entries(directory):
        if entry.is_dir():
            paths += _walk(entry.path, (*above, real))
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            paths.append(entry.path)
    return paths


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(directory) if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be listed ({error.strerror}): check the path and its permissions"
        ) from None
