"""Any data set: images/**/x.png and labels/**/x.png, the same path without suffix, said by options or dataset.json."""

import json
from pathlib import Path

from zodi.data.layout import Found, Pair, Request, find_pairs, need_directories, refuse_option
from zodi.errors import DataError

DESCRIPTION = "dataset.json"
DESCRIBED = ("dataset", "label_set", "labels", "label_suffix")


def find(root: Path, request: Request) -> Found:
    """All files. Raises DataError for missing directories, and for a split or condition: a folder has none."""
    for option in ("split", "condition"):
        refuse_option(option, getattr(request, option), "folder", "give the folder of the wanted part as --root")
    image_root, label_root = root / "images", root / "labels"
    need_directories(root, image_root, *([label_root] if request.need_labels else []))
    return find_pairs(image_root, [Pair(image_root, label_root)], label_ending=request.label_suffix or "")


def read_description(root: Path) -> dict[str, str]:
    """The keys of `ROOT/dataset.json` that zodi knows, as far as it has them; {} without the file.

    They are "dataset", "label_set", "labels" and "label_suffix".

    A label set that is a .toml file is named relative to the root. Other keys are the user's own.

    Raises DataError for a file that cannot be read, is no JSON object, or has a key that is no string.
    """
    path = root / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a valid JSON file ({error}): mend it or remove it") from None
    if not isinstance(content, dict):
        raise DataError(f'{path}: holds no JSON object: write {{"dataset": ..., "label_set": ..., "labels": ...}}')
    described = {key: content[key] for key in DESCRIBED if key in content}
    for key, value in described.items():
        if not isinstance(value, str):
            raise DataError(f"{path}: {key} is {json.dumps(value)}, it must be a string")
    if described.get("label_set", "").endswith(".toml"):
        described["label_set"] = str(root / described["label_set"])
    return described
