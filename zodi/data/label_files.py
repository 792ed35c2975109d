"""Label files to ids and train ids, whatever the kind of file; nothing is guessed and nothing is rounded.

"ids"        8-bit grey or palette files whose values are the ids of the label set
"train-ids"  the same with 0..C-1, and 255 for void
"colours"    RGB, RGBA or palette files in the exact colours of the label set

SYNTHIA's "ids" are 16-bit RGB files with the id in red.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zodi.data.dataset import Dataset, Sample
from zodi.data.images import SIDEWAYS, decode, read_header
from zodi.errors import DataError
from zodi.labels import IGNORE, LabelSet

Ids = NDArray[np.uint8]

LABEL_KINDS = ("ids", "train-ids", "colours")
LOSSLESS = ("PNG", "BMP", "TIFF")
UNLISTED = 256  # beyond every id


def read_label(dataset: Dataset, sample: Sample) -> Ids:
    """The ids (H, W) of a sample's label, all of them listed in `dataset.label_set`.

    Of ids that share a train id (kind "train-ids") or a colour (kind "colours") the first of the set stands for all.

    Raises DataError for a missing, truncated, JPEG, 16-bit or 1-bit file, one of another kind than `dataset.labels`,
    and one with ids or colours that the label set does not list.
    """
    if dataset.labels == "train-ids":
        train_ids = _read_train_id_file(dataset, sample)
        ids: Ids = dataset.label_set.train_id_to_id[train_ids]
        return ids
    if dataset.labels == "colours":
        return _read_colour_file(dataset, sample)
    return _read_id_file(dataset, sample)


def read_train_ids(dataset: Dataset, sample: Sample) -> Ids:
    """The train ids (H, W) of a sample's label: 0..C-1, and 255 for void. Raises DataError as `read_label` does."""
    if dataset.labels == "train-ids":
        return _read_train_id_file(dataset, sample)
    train_ids: Ids = dataset.label_set.id_to_train_id[read_label(dataset, sample)]
    return train_ids


@dataclass(frozen=True)
class Stored:
    """What a label file holds, whatever it means.

    values   (H, W), of grey and palette files
    palette  (256,), the colours of a palette file, packed with red lowest
    colours  (H, W), those of an RGB file, packed likewise
    channel  (H, W), one of three that are equal, of an RGB file that is grey
    """

    values: Ids | None
    palette: NDArray[np.uint32] | None = None
    colours: NDArray[np.uint32] | None = None
    channel: Ids | None = None


def read_stored(sample: Sample, *, wide_ids: bool = False) -> Stored:
    """What the label of a sample holds. Raises DataError for files that can be no label."""
    if wide_ids:
        return Stored(_read_wide(sample)[1])
    path, image = _open_label(sample)
    if image.mode == "P":
        palette = np.zeros((256, 3), np.uint32)
        known = np.array(image.getpalette("RGB"), np.uint32).reshape(-1, 3)[:256]
        palette[: len(known)] = known
        return Stored(np.array(image), pack(palette))
    if image.mode in ("RGB", "RGBA"):
        return Stored(None, colours=_packed(image), channel=_equal_channels(image))
    return Stored(_values(path, image, "ids"))


def pack(colours: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint32]:
    """Colours (..., 3) as numbers, red lowest."""
    red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
    packed: NDArray[np.uint32] = red | green << 8 | blue << 16
    return packed


def colour_ids(packed: NDArray[np.uint32], label_set: LabelSet) -> NDArray[np.uint16]:
    """The ids that packed colours stand for, `UNLISTED` where the label set does not list a colour."""
    ids: NDArray[np.uint16] = _colour_table(label_set)[packed]
    return ids


def check_pair(image: NDArray[np.uint8], label: Ids, sample: Sample) -> None:
    """Raise DataError unless the label (H, W) has the size of the image (H, W, 3)."""
    if label.shape != image.shape[:2]:
        advice = "they must be of one size"
        if label.shape == image.shape[1::-1]:
            advice = next((_turned(path) for path in (sample.label, sample.image) if path and _turned(path)), advice)
        raise DataError(
            f"{sample.label}: the label is {label.shape[0]}x{label.shape[1]} (height x width), "
            f"its image {sample.image} is {image.shape[0]}x{image.shape[1]}: {advice}"
        )


def _turned(path: Path) -> str:
    """What to do about a file that its EXIF orientation turns onto its side; "" for another."""
    tag = read_header(path).orientation
    if tag not in SIDEWAYS:
        return ""
    return (
        f"EXIF orientation {tag} turns {path.name} upright: labels must fit the upright picture; where they were drawn "
        f"on the stored pixels, remove the tag (exiftool -Orientation= {path})"
    )


def _read_id_file(dataset: Dataset, sample: Sample) -> Ids:
    path, ids = _read_values(dataset, sample)
    listed = _listed(dataset.label_set.ids)
    if not listed[ids].all():
        if not dataset.unknown_ids_are_void:
            _refuse_values(path, ids, listed, dataset)
        ids[~listed[ids]] = dataset.label_set.void_id
    return ids


def _read_train_id_file(dataset: Dataset, sample: Sample) -> Ids:
    path, train_ids = _read_values(dataset, sample)
    listed = _listed(frozenset(range(dataset.label_set.num_classes)) | {IGNORE})
    if not listed[train_ids].all():
        _refuse_values(path, train_ids, listed, dataset)
    return train_ids


def _read_colour_file(dataset: Dataset, sample: Sample) -> Ids:
    path, image = _open_label(sample)
    if image.mode not in ("RGB", "RGBA", "P"):
        raise DataError(
            f"{path}: the label has no colours (PIL mode {image.mode}) but the kind is colours: "
            "give --labels ids or train-ids"
        )
    packed = _packed(image)
    ids = colour_ids(packed, dataset.label_set)
    unlisted = packed[ids == UNLISTED]
    if unlisted.size:
        colours, counts = np.unique(unlisted, return_counts=True)
        first = [
            f"({c & 255}, {c >> 8 & 255}, {c >> 16}) ({n} pixels)"
            for c, n in zip(colours[:3].tolist(), counts[:3].tolist(), strict=True)
        ]
        raise DataError(
            f"{path}: label set {dataset.label_set.name!r} does not list {_first(first, len(colours), 'colours')}: "
            "give the --label-set of these labels; resized or smoothed labels cannot be used"
        )
    listed: Ids = ids.astype(np.uint8)
    return listed


def _read_values(dataset: Dataset, sample: Sample) -> tuple[Path, Ids]:
    if dataset.wide_ids:
        return _read_wide(sample)
    path, image = _open_label(sample)
    return path, _values(path, image, dataset.labels)


def _read_wide(sample: Sample) -> tuple[Path, Ids]:
    """The ids of a 16-bit RGB file, which Pillow would cut to the upper 8 bits."""
    path = _path_of(sample)
    decode(path)  # names what is wrong with a damaged file; OpenCV fills it up in silence
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DataError(
            f"{path}: is no 16-bit RGB file with ids in red: where labels were converted, use --dataset folder"
        )
    red = pixels[..., 2]  # OpenCV's order is blue, green, red
    if red.max(initial=0) > 255:
        raise DataError(f"{path}: has ids up to {red.max()} in red, allowed are 0 to 255: check --dataset")
    ids: Ids = red.astype(np.uint8)
    return path, ids


def _values(path: Path, image: Image.Image, kind: str) -> Ids:
    if image.mode in ("L", "P"):
        return np.array(image)
    if image.mode in ("RGB", "RGBA", "CMYK"):
        grey = image.mode != "CMYK" and _equal_channels(image) is not None
        or_grey = f"; its channels are equal: where they hold {kind}, save one of them as a grey PNG" if grey else ""
        raise DataError(f"{path}: the label is in colours but the kind is {kind}: give --labels colours{or_grey}")
    raise DataError(f"{path}: the label has PIL mode {image.mode}: save it as an 8-bit grey or palette PNG")


def _equal_channels(image: Image.Image) -> Ids | None:
    """The one channel (H, W) of an RGB image that is grey; None for another."""
    red, green, blue = (np.asarray(channel) for channel in image.split()[:3])
    return red.copy() if np.array_equal(red, green) and np.array_equal(red, blue) else None


def _packed(image: Image.Image) -> NDArray[np.uint32]:
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGBA")))
    packed: NDArray[np.uint32] = pixels.view(np.dtype("<u4"))[..., 0] & np.uint32(
        0xFFFFFF
    )  # red lowest; alpha is not part of a colour
    return packed


def _open_label(sample: Sample) -> tuple[Path, Image.Image]:
    path = _path_of(sample)
    image, raw_mode, form = decode(path)
    if form not in LOSSLESS or image.info.get("compression") == "jpeg":
        kind = "JPEG" if form in LOSSLESS else form
        raise DataError(f"{path}: the label is a {kind} file, which changes ids and colours: make it anew as PNG")
    if image.mode.startswith("I") or image.mode == "F" or ";16" in raw_mode:
        raise DataError(f"{path}: the label has more than 8 bits per channel: save it with 8 bits")
    # grey values of 1, 2 and 4 bits are stretched to 0..255 by the decoder and are ids no longer
    if image.mode == "1" or raw_mode.startswith(("L;2", "L;4")):
        raise DataError(f"{path}: the label has fewer than 8 bits per pixel: save it as 8-bit grey or with a palette")
    return path, image


def _path_of(sample: Sample) -> Path:
    if sample.label is None:
        raise DataError(f"{sample.image}: has no label: add one or remove the image")
    return sample.label


def _refuse_values(path: Path, values: Ids, listed: NDArray[np.bool_], dataset: Dataset) -> None:
    counts = np.bincount(values.ravel(), minlength=256)
    wrong = [int(v) for v in np.flatnonzero(counts) if not listed[v]]
    present = {int(v) for v in np.flatnonzero(counts)}
    label_set, what = dataset.label_set, "ids" if dataset.labels == "ids" else "train ids"
    if dataset.labels == "ids" and present <= {*range(label_set.num_classes), IGNORE}:
        hint = "the file looks like --labels train-ids"
    elif dataset.labels == "train-ids" and present <= label_set.ids:
        hint = "the file looks like --labels ids"
    else:
        hint = "give the --label-set of these labels, or add the ids to its classes"
    first = [f"{v} ({counts[v]} pixels)" for v in wrong[:5]]
    raise DataError(f"{path}: label set {label_set.name!r} does not list {_first(first, len(wrong), what)}: {hint}")


def _first(values: list[str], total: int, what: str) -> str:
    more = f" and {total - len(values)} more" if total > len(values) else ""
    return f"the {what} {', '.join(values)}{more}"


@lru_cache(maxsize=16)
def _listed(values: frozenset[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[sorted(values)] = True
    return table


@lru_cache(maxsize=2)
def _colour_table(label_set: LabelSet) -> NDArray[np.uint16]:
    """Ids of all 2^24 colours, packed with red lowest: one look-up per pixel, 32 MiB, made once."""
    table = np.full(1 << 24, UNLISTED, np.uint16)
    for c in reversed(label_set.classes):  # the first class of a colour is written last
        red, green, blue = c.colour
        table[red | green << 8 | blue << 16] = c.id
    return table
