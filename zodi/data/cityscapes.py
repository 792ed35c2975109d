"""Cityscapes: leftImg8bit/<split>/<city>/x_leftImg8bit.png and gtFine/<split>/<city>/x_gtFine_labelIds.png."""

from pathlib import Path

from zodi.data.layout import Found, Request, find_by_endings, need_directories, need_split, refuse_option, subfolders
from zodi.errors import DataError

LABEL_ENDINGS = {"ids": "_gtFine_labelIds", "train-ids": "_gtFine_labelTrainIds", "colours": "_gtFine_color"}


def find(root: Path, request: Request) -> Found:
    """Files of one split, or of all that have labels; `test`, whose labels are dummies, only when asked for.

    Raises DataError for missing directories and an unknown split.
    """
    refuse_option("condition", request.condition, "cityscapes", "leave it out")
    image_root, label_root = root / "leftImg8bit", root / "gtFine"
    need_directories(root, image_root, *([label_root] if request.need_labels else []))
    splits = subfolders(image_root)
    if request.split is not None:
        need_split(request.split, splits, image_root)
        chosen = [request.split]
    elif request.need_labels:
        chosen = [split for split in splits if split != "test" and (label_root / split).is_dir()]
    else:
        chosen = splits
    if not chosen:
        raise DataError(
            f"{label_root}: no folder for any split of {image_root} ({', '.join(splits) or 'none'}): add labels"
        )
    return find_by_endings(image_root, label_root, chosen, "_leftImg8bit", LABEL_ENDINGS[request.labels])
