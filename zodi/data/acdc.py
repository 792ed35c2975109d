"""ACDC: rgb_anon/<condition>/<split>/<drive>/x_rgb_anon.png and gt/<condition>/<split>/<drive>/x_gt_labelIds.png.

The original leaves out the fog images of another size than 1080x1920; here every image is kept.
"""

from pathlib import Path

from zodi.data.layout import Found, Request, find_by_endings, need_directories, need_split, subfolders
from zodi.errors import DataError

CONDITIONS = ("fog", "night", "rain", "snow")
LABEL_ENDINGS = {"ids": "_gt_labelIds", "train-ids": "_gt_labelTrainIds", "colours": "_gt_labelColor"}


def find(root: Path, request: Request) -> Found:
    """Files of one condition or all, and of one split or all that have labels; `test` only when asked for.

    Raises DataError for missing directories, an unknown condition and an unknown split.
    """
    image_root, label_root = root / "rgb_anon", root / "gt"
    need_directories(root, image_root, *([label_root] if request.need_labels else []))
    conditions = [name for name in subfolders(image_root) if name in CONDITIONS]
    if request.condition is not None and request.condition not in conditions:
        raise DataError(
            f"unknown condition {request.condition!r}: in {image_root} there is {', '.join(conditions) or 'none'}; "
            f"allowed are {', '.join(CONDITIONS)}, or all"
        )
    wanted = conditions if request.condition is None else [request.condition]
    found = [(condition, split) for condition in wanted for split in subfolders(image_root / condition)]
    splits = sorted({split for _, split in found})
    if request.split is not None:
        need_split(request.split, splits, image_root)
        found = [(condition, split) for condition, split in found if split == request.split]
    elif request.need_labels:  # leaves out train_ref and val_ref, the clear-weather partners
        found = [(c, split) for c, split in found if split != "test" and (label_root / c / split).is_dir()]
    if not found:
        raise DataError(
            f"{label_root}: no folder for any split of {image_root} ({', '.join(splits) or 'none'}): add labels"
        )
    folders = [f"{condition}/{split}" for condition, split in found]
    return find_by_endings(image_root, label_root, folders, "_rgb_anon", LABEL_ENDINGS[request.labels])
