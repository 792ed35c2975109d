"""What the layouts share: a request, what was found for it, and how directories are searched."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zodi.data.suffixes import IMAGE_SUFFIXES, LABEL_SUFFIXES, UNREAD_SUFFIXES
from zodi.errors import DataError


@dataclass(frozen=True)
class Request:
    """What the user asked for; None is everything.

    labels        the kind of label file
    label_suffix  how the names of labels end, beyond those of their images; None: as the layout says
    """

    split: str | None
    condition: str | None
    labels: str
    need_labels: bool
    label_suffix: str | None = None


@dataclass(frozen=True)
class Pair:
    """A folder of images and that of their labels, which has the same folders in it."""

    images: Path
    labels: Path


@dataclass(frozen=True)
class Found:
    """The files of a data set, each with the key of the image it belongs to.

    expected        where the label of a key should be, for messages
    unread          pictures among the images and labels whose suffixes are not read
    labels_may_rest the images are a chosen few, so that what else there is, labels too, is no problem
    """

    image_root: Path
    images: list[tuple[str, Path]]
    labels: list[tuple[str, Path]]
    expected: Callable[[str], Path]
    unread: list[Path]
    labels_may_rest: bool = False


def find_pairs(image_root: Path, pairs: Sequence[Pair], image_ending: str = "", label_ending: str = "") -> Found:
    """Images `**/x<image_ending>.*` of each pair, and labels `**/x<label_ending>.*`; keys are under `image_root`.

    Raises DataError where there is no image.
    """
    images, labels, expected = [], [], {}
    unread: list[Path] = []
    for pair in pairs:
        above = "" if pair.images == image_root else f"{composed(pair.images.relative_to(image_root).as_posix())}/"
        here = [path for path in pictures(pair.images) if path.stem.endswith(image_ending)]
        there = pictures(pair.labels) if pair.labels.is_dir() else []
        there = [path for path in there if path.stem.endswith(label_ending)]
        read, read_labels = with_suffix(here, IMAGE_SUFFIXES), with_suffix(there, LABEL_SUFFIXES)
        unread += {*here, *there} - {*read, *read_labels}
        for path in read:
            key = key_of(path, pair.images)
            images.append((above + key, path))
            expected[above + key] = pair.labels / f"{key.removesuffix(image_ending)}{label_ending}.png"
        for path in read_labels:
            labels.append((above + key_of(path, pair.labels).removesuffix(label_ending) + image_ending, path))
    if not images:
        wanted = f"*{image_ending}.png" if image_ending else ", ".join(LABEL_SUFFIXES)
        places = ", ".join(pair.images.relative_to(image_root).as_posix() for pair in pairs)
        raise empty(
            image_root,
            wanted + (f" in {places}" if places != "." else ""),
            with_suffix(sorted(unread), UNREAD_SUFFIXES),
        )
    return Found(image_root, images, labels, expected.__getitem__, sorted(unread))


def pictures(directory: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES + UNREAD_SUFFIXES) -> list[Path]:
    """All pictures below a directory, also those of suffixes that are not read, sorted; or files of other suffixes.

    Links are followed, hidden files are not files of the data set. Raises DataError for a directory that cannot be
    listed.
    """
    return [Path(path) for path in sorted(_walk(str(directory), suffixes, ()))]


def with_suffix(paths: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Those of the paths that have one of the suffixes, in upper or lower case."""
    return [path for path in paths if path.suffix.lower() in suffixes]


def key_of(path: Path, root: Path) -> str:
    """The path under `root` without suffix, with "/", in the composed form of Unicode (NFC); macOS decomposes names."""
    return composed(path.relative_to(root).as_posix().removesuffix(path.suffix))


def composed(name: str) -> str:
    """A name in the composed form of Unicode, in which names that look alike are equal."""
    return unicodedata.normalize("NFC", name)


def without_type(suffix: str | None) -> str | None:
    """An ending of names without the type of file that a user may have given with it: "_L" for "_L.png"."""
    if suffix is None:
        return None
    return next((suffix[: -len(end)] for end in LABEL_SUFFIXES if suffix.lower().endswith(end)), suffix)


def subfolders(directory: Path) -> list[str]:
    """Names of the folders in a directory, sorted. Raises DataError for a directory that cannot be listed."""
    return sorted(entry.name for entry in _entries(str(directory)) if _is_directory(entry))


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


def empty(directory: Path, expected: str, unread: Sequence[Path] = ()) -> DataError:
    """The error for a directory without images; `unread`: pictures there of suffixes that are not read."""
    if unread:
        return DataError(
            f"{directory}: no images that are read: {len(unread)} files like {unread[0].name} have to be converted to "
            "PNG or JPEG"
        )
    return DataError(f"{directory}: no images: expected {expected}; check --root and --dataset")


def _walk(directory: str, suffixes: tuple[str, ...], above: tuple[str, ...]) -> list[str]:
    real = os.path.realpath(directory)
    if real in above:  # a link to one of its own parents
        return []
    paths = []
    for entry in _entries(directory):
        if _is_directory(entry):
            paths += _walk(entry.path, suffixes, (*above, real))
        elif entry.name.lower().endswith(suffixes):
            paths.append(entry.path)
    return paths


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to what cannot be reached: whoever reads it is told
        return False


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(directory) if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be listed ({error.strerror}): check the path and its permissions"
        ) from None
