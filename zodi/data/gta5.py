"""GTA5 (Richter et al. 2016): images/00001.png and labels/00001.png, chosen by a list of file names."""

from dataclasses import replace
from pathlib import Path

from zodi.data.layout import Found, Pair, Request, composed, find_pairs, need_directories, refuse_option
from zodi.errors import DataError

CONVERTED = "_labelTrainIds"


def find(root: Path, request: Request) -> Found:
    """All files, or those that the list `ROOT/<split>.txt` (or the file `split`) names, one image file name per line.

    Raises DataError for missing directories, a missing or empty list and a listed image that does not exist.
    """
    refuse_option("condition", request.condition, "gta5", "leave it out")
    image_root, label_root = root / "images", root / "labels"
    need_directories(root, image_root, *([label_root] if request.need_labels else []))
    found = find_pairs(image_root, [Pair(image_root, label_root)], label_ending=_label_ending(label_root, request))
    if request.split is None:
        return found
    list_file = _list_file(root, request.split)
    listed = _listed(list_file, image_root, [path for _, path in found.images])
    return replace(found, images=[pair for pair in found.images if pair[1] in listed], labels_may_rest=True)


def _label_ending(label_root: Path, request: Request) -> str:
    """Train ids are beside the ids where a converter of domain adaptation has written them."""
    if request.label_suffix is not None:
        return request.label_suffix
    converted = request.labels == "train-ids" and next(label_root.glob(f"*{CONVERTED}.png"), None) is not None
    return CONVERTED if converted else ""


def _list_file(root: Path, split: str) -> Path:
    for path in (root / f"{split}.txt", Path(split)):
        if path.is_file():
            return path
    known = sorted(path.stem for path in root.glob("*.txt"))
    raise DataError(
        f"unknown split {split!r}: in {root} there is {', '.join(known) or 'no list'}; "
        "give the name of a list NAME.txt there, or the path of a list file"
    )


def _listed(list_file: Path, image_root: Path, images: list[Path]) -> set[Path]:
    known = {composed(str(path)): path for path in images}
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{list_file}: not a list of image file names ({error}): one name per line") from None
    listed = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path = image_root / line.strip()
        found = known.get(composed(str(path)))
        if found is None:
            raise DataError(
                f"{list_file}, line {number}: {path} does not exist: write image file names as in {image_root}"
            )
        listed.add(found)
    if not listed:
        raise DataError(f"{list_file}: the list is empty: write one image file name per line")
    return listed
