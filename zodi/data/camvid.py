"""CamVid: images/ and labels/ with the same names, also below a split, or <split>/ and <split>annot/ as in SegNet's."""

from pathlib import Path

from zodi.data.layout import Found, Request, find_by_names, need_directories, refuse_option, subfolders
from zodi.errors import DataError


def find(root: Path, request: Request) -> Found:
    """Files of `ROOT` itself, or of a split.

    Raises DataError for missing directories and an unknown split.
    """
    refuse_option("condition", request.condition, "camvid", "leave it out")
    known = {name: pair for name in subfolders(root) if (pair := _split_folders(root, name)) is not None}
    if request.split is None:
        if not (root / "images").is_dir() and known:
            raise DataError(
                f"{root}: has no images/ of its own: choose one of its splits with --split: {', '.join(known)}"
            )
        image_root, label_root = root / "images", root / "labels"
        need_directories(root, image_root, *([label_root] if request.need_labels else []))
    elif request.split in known:
        image_root, label_root = known[request.split]
        need_directories(root, image_root, *([label_root] if request.need_labels else []))
    else:
        raise DataError(
            f"unknown split {request.split!r}: in {root} there is {', '.join(known) or 'none'}; "
            "a split S is S/images/ and S/labels/, or S/ and Sannot/"
        )
    return find_by_names(image_root, label_root)


def _split_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """Where images and labels of a split are; None where the folder is no split."""
    if (root / split / "images").is_dir():
        return root / split / "images", root / split / "labels"
    if (root / f"{split}annot").is_dir():
        return root / split, root / f"{split}annot"
    return None
