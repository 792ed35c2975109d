"""CamVid: as published in 2009, and in the preparations by SegNet, Kaggle and fastai."""

import re
from pathlib import Path

from zodi.data.layout import Found, Pair, Request, find_pairs, need_directories, refuse_option, subfolders
from zodi.errors import DataError
from zodi.label_tables import CAMVID_32

PUBLISHED = ("701_StillsRaw_full", "LabeledApproved_full")
CODES = "codes.txt"  # of fastai's: the names of the classes by their ids


def meaning(root: Path) -> tuple[str, str]:
    """Label set and kind of labels of the preparation that a root holds.

    Raises DataError where fastai's list of classes is in another order than is known.
    """
    if (root / CODES).is_file():
        _check_codes(root / CODES)
        return "camvid-32", "ids"
    coloured = (root / PUBLISHED[0]).is_dir() or any(name.endswith("_labels") for name in subfolders(root))
    return ("camvid-32", "colours") if coloured else ("camvid", "ids")


def find(root: Path, request: Request) -> Found:
    """Files of `ROOT` itself, or of a split.

    Raises DataError for missing directories and an unknown split.
    """
    refuse_option("condition", request.condition, "camvid", "leave it out")
    known = {name: found for name in subfolders(root) if (found := _split(root, name)) is not None}
    if request.split is not None:
        if request.split not in known:
            raise DataError(
                f"unknown split {request.split!r}: in {root} there is {', '.join(known) or 'none'}; "
                "a split S is S/images/ and S/labels/, S/ and Sannot/, or S/ and S_labels/"
            )
        pair, ending = known[request.split]
    elif (root / PUBLISHED[0]).is_dir():
        pair, ending = Pair(root / PUBLISHED[0], root / PUBLISHED[1]), "_L"
    elif not (root / "images").is_dir() and known:
        raise DataError(f"{root}: has no images/ of its own: choose one of its splits with --split: {', '.join(known)}")
    else:
        pair, ending = Pair(root / "images", root / "labels"), "_P" if (root / CODES).is_file() else ""
    need_directories(root, pair.images, *([pair.labels] if request.need_labels else []))
    return find_pairs(
        pair.images, [pair], label_ending=ending if request.label_suffix is None else request.label_suffix
    )


def _split(root: Path, split: str) -> tuple[Pair, str] | None:
    """Where images and labels of a split are, and how the names of labels end; None where the folder is no split."""
    if (root / split / "images").is_dir():
        return Pair(root / split / "images", root / split / "labels"), ""
    if (root / f"{split}annot").is_dir():
        return Pair(root / split, root / f"{split}annot"), ""
    if (root / f"{split}_labels").is_dir():
        return Pair(root / split, root / f"{split}_labels"), "_L"
    return None


def _check_codes(path: Path) -> None:
    try:
        names = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): one name of a class per line") from None
    expected = [published for published, *_ in CAMVID_32]
    if [_letters(name) for name in names] != [_letters(name) for name in expected]:
        raise DataError(
            f"{path}: names other classes than CamVid's 32, or in another order: give --labels ids and a --label-set"
        )


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
