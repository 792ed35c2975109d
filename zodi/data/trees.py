"""Data sets in folders of splits: where images and labels are, and how their names end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zodi.data.layout import Found, Pair, Request, find_pairs, need_directories, need_split, refuse_option, subfolders
from zodi.errors import DataError

Names = dict[str, str]


@dataclass(frozen=True)
class Tree:
    """A data set as its publishers lay it out; {split} and {condition} stand for one folder each.

    images        the folder of images under ROOT
    labels        of each kind of labels, its folder and how the names of its files end
    image_ending  how the names of images end
    rest          splits that are only taken when they are asked for: without labels, or with dummies
    conditions    folders that are conditions, where there are any
    """

    name: str
    images: str
    labels: Mapping[str, tuple[str, str]]
    image_ending: str = ""
    rest: tuple[str, ...] = ("test",)
    conditions: tuple[str, ...] = ()

    def find(self, root: Path, request: Request) -> Found:
        """Files of one split and condition, or of all that have labels.

        Raises DataError for missing directories, an unknown split or condition, and a kind of labels that it has not.
        """
        if not self.conditions:
            refuse_option("condition", request.condition, self.name, "leave it out")
        if "{split}" not in self.images:
            refuse_option("split", request.split, self.name, "leave it out")
        if request.labels not in self.labels:
            raise DataError(
                f"{root}: layout {self.name} has no labels of kind {request.labels}, only {' and '.join(self.labels)}"
            )
        label_folder, label_ending = self.labels[request.labels]
        image_root, label_root = root / _above(self.images), root / _above(label_folder)
        need_directories(root, image_root, *([label_root] if request.need_labels else []))
        found = self._folders(root)
        chosen = self._chosen(image_root, found, request)
        pairs = [Pair(root / self.images.format(**names), root / label_folder.format(**names)) for names in chosen]
        if request.split is None and request.need_labels:  # what was asked for by name is there, or is missed by name
            pairs = [pair for pair in pairs if pair.labels.is_dir()]
        if not pairs:
            known = ", ".join(sorted({names["split"] for names in found if "split" in names})) or "none"
            raise DataError(f"{label_root}: no folder for any split of {image_root} ({known}): add labels")
        return find_pairs(image_root, pairs, self.image_ending, request.label_suffix or label_ending)

    def has_labels(self, root: Path) -> bool:
        """Whether there is a folder of labels for a folder of images."""
        folders = [folder for folder, _ in self.labels.values()]
        return any((root / folder.format(**names)).is_dir() for names in self._folders(root) for folder in folders)

    def _chosen(self, image_root: Path, found: list[Names], request: Request) -> list[Names]:
        if request.condition is not None:
            known = sorted({names["condition"] for names in found})
            if request.condition not in known:
                raise DataError(
                    f"unknown condition {request.condition!r}: in {image_root} there is {', '.join(known) or 'none'}; "
                    f"allowed are {', '.join(self.conditions)}, or all"
                )
            found = [names for names in found if names["condition"] == request.condition]
        if request.split is None:
            return [names for names in found if not request.need_labels or names.get("split") not in self.rest]
        need_split(request.split, sorted({names["split"] for names in found}), image_root)
        return [names for names in found if names["split"] == request.split]

    def _folders(self, root: Path) -> list[Names]:
        """What {split} and {condition} stand for where there is a folder of images."""
        found: list[Names] = [{}]
        parts = self.images.split("/")
        for depth, part in enumerate(parts):
            if part.startswith("{"):
                name = part.strip("{}")
                above = "/".join(parts[:depth])
                found = [
                    {**names, name: folder}
                    for names in found
                    for folder in _subfolders(root / above.format(**names))
                    if name == "split" or folder in self.conditions
                ]
        return [names for names in found if (root / self.images.format(**names)).is_dir()]


def find_first(trees: Sequence[Tree]) -> Callable[[Path, Request], Found]:
    """Find files by the first of several trees of a data set that has labels, else by the first."""

    def find(root: Path, request: Request) -> Found:
        return next((tree for tree in trees if tree.has_labels(root)), trees[0]).find(root, request)

    return find


def _subfolders(directory: Path) -> list[str]:
    return subfolders(directory) if directory.is_dir() else []


def _above(folder: str) -> str:
    """The part of a folder that is the same for all splits."""
    return folder.partition("{")[0].rstrip("/") or "."


CITYSCAPES = Tree(
    "cityscapes",
    images="leftImg8bit/{split}",
    image_ending="_leftImg8bit",
    labels={
        "ids": ("gtFine/{split}", "_gtFine_labelIds"),
        "train-ids": ("gtFine/{split}", "_gtFine_labelTrainIds"),
        "colours": ("gtFine/{split}", "_gtFine_color"),
    },
)

# train_ref and val_ref, the clear-weather partners, have no folders of labels and so are left out
ACDC = Tree(
    "acdc",
    images="rgb_anon/{condition}/{split}",
    image_ending="_rgb_anon",
    labels={
        "ids": ("gt/{condition}/{split}", "_gt_labelIds"),
        "train-ids": ("gt/{condition}/{split}", "_gt_labelTrainIds"),
        "colours": ("gt/{condition}/{split}", "_gt_labelColor"),
    },
    conditions=("fog", "night", "rain", "snow"),
)

DARK_ZURICH = Tree(
    "dark-zurich",
    images="rgb_anon/{split}/{condition}",
    image_ending="_rgb_anon",
    labels={
        "ids": ("gt/{split}/{condition}", "_gt_labelIds"),
        "train-ids": ("gt/{split}/{condition}", "_gt_labelTrainIds"),
        "colours": ("gt/{split}/{condition}", "_gt_labelColor"),
    },
    conditions=("day", "twilight", "night"),
)

# the release of 2021, and the one before it
BDD100K = (
    Tree(
        "bdd100k",
        images="images/10k/{split}",
        labels={
            "train-ids": ("labels/sem_seg/masks/{split}", ""),
            "colours": ("labels/sem_seg/colormaps/{split}", ""),
        },
    ),
    Tree(
        "bdd100k",
        images="seg/images/{split}",
        labels={
            "train-ids": ("seg/labels/{split}", "_train_id"),
            "colours": ("seg/color_labels/{split}", "_train_color"),
        },
    ),
)

# as createLabels.py of AutoNUE's public-code writes them from the polygons
IDD = Tree(
    "idd",
    images="leftImg8bit/{split}",
    image_ending="_leftImg8bit",
    labels={
        "ids": ("gtFine/{split}", "_gtFine_labelids"),
        "train-ids": ("gtFine/{split}", "_gtFine_labelcsTrainIds"),
    },
)

SYNTHIA = Tree("synthia", images="RGB", labels={"ids": ("GT/LABELS", ""), "train-ids": ("GT/LABELS", "_labelTrainIds")})

# release 1.2, and its labels in the archive of release 2.0
VISTAS = (
    Tree("vistas", images="{split}/images", labels={"ids": ("{split}/v1.2/labels", "")}, rest=("testing",)),
    Tree("vistas", images="{split}/images", labels={"ids": ("{split}/labels", "")}, rest=("testing",)),
)
