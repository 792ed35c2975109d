"""From a layout's name and a root to a `Dataset`: first what labels mean, then files paired by key."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zodi.data import acdc, camvid, cityscapes, folder, gta5
from zodi.data.dataset import Dataset, Problem, Sample
from zodi.data.label_files import LABEL_KINDS
from zodi.data.layout import Found, Request
from zodi.data.suffixes import FURTHER_SUFFIXES
from zodi.errors import DataError
from zodi.labels import LABEL_SETS, LabelSet, find_label_set


@dataclass(frozen=True)
class Layout:
    """How files are found, and what labels mean where the user does not say; None: the user must."""

    find: Callable[[Path, Request], Found]
    label_set: str | None
    labels: str | None
    unknown_ids_are_void: bool = False


LAYOUTS: dict[str, Layout] = {
    "cityscapes": Layout(cityscapes.find, "cityscapes", "ids"),
    "acdc": Layout(acdc.find, "cityscapes", "ids"),
    "gta5": Layout(gta5.find, "cityscapes", "ids", unknown_ids_are_void=True),
    "camvid": Layout(camvid.find, "camvid", "ids"),
    "folder": Layout(folder.find, None, None),
}


def open_dataset(
    name: str | None,
    root: Path,
    *,
    split: str | None = None,
    condition: str | None = None,
    labels: str | None = None,
    label_set: str | LabelSet | None = None,
    strict: bool = True,
    need_labels: bool = True,
    trust_labels: bool = False,
) -> Dataset:
    """The samples of a data set; no image or label is opened.

    name         "cityscapes", "acdc", "gta5", "camvid" or "folder"; None: as `ROOT/dataset.json` says
    split        None: all that have labels, for cityscapes and acdc without `test`
    condition    of acdc: "fog", "night", "rain", "snow"; None or "all": all
    labels       "ids", "train-ids" or "colours"; None: as `ROOT/dataset.json` or else the layout says, never guessed
    label_set    a label set, its name or its .toml file; None: likewise
    strict       an image without label is an error, not one of `Dataset.problems`
    need_labels  False: images are enough; they have their labels where these exist and their kind is stated
    trust_labels take labels also where they look like another kind, see `zodi.data.label_meaning`

    Raises DataError, or SettingsError for a wrong label set.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: {'not a directory' if root.exists() else 'no such directory'}: check --root")
    described = folder.read_description(root)
    name = name or described.get("dataset")
    if name is None:
        raise DataError(
            f"{root}: the layout is not known: give --dataset {'|'.join(LAYOUTS)} or write {folder.DESCRIPTION}"
        )
    if name not in LAYOUTS:
        raise DataError(f"{root}: unknown data set layout {name!r}: allowed are {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    kind = labels or described.get("labels") or layout.labels
    meaning = label_set or described.get("label_set") or layout.label_set
    stated = kind is not None and meaning is not None
    if not stated and need_labels:
        missing = [f"--labels {'|'.join(LABEL_KINDS)}"] * (kind is None)
        missing += [f"--label-set {'|'.join(LABEL_SETS)}|FILE.toml"] * (meaning is None)
        raise DataError(
            f"{root}: what its labels mean is not stated: give {' and '.join(missing)}, or write {folder.DESCRIPTION}"
        )
    kind, meaning = kind or "ids", meaning or "cityscapes"  # where not stated, no label is read
    if kind not in LABEL_KINDS:
        where = f"{root / folder.DESCRIPTION}: " if not labels else ""
        raise DataError(f"{where}unknown kind of labels {kind!r}: allowed are {', '.join(LABEL_KINDS)}")
    classes = meaning if isinstance(meaning, LabelSet) else find_label_set(meaning)
    condition = None if condition == "all" else condition
    found = layout.find(root, Request(split, condition, kind, need_labels))
    samples, problems = _pair(found, strict, need_labels, stated)
    return Dataset(
        name=name,
        root=root,
        samples=samples,
        label_set=classes,
        labels=kind,
        split=split,
        condition=condition,
        image_root=found.image_root,
        unknown_ids_are_void=layout.unknown_ids_are_void,
        problems=problems,
        trust_labels=trust_labels,
    )


def _pair(
    found: Found, strict: bool, need_labels: bool, stated: bool
) -> tuple[tuple[Sample, ...], tuple[Problem, ...]]:
    wrong: list[Problem] = []  # ends a strict index; the other problems are only reported
    problems: list[Problem] = []
    images = _by_key(found.images, wrong, problems)
    labels = _by_key(found.labels, wrong, problems) if stated else {}
    if wrong and strict:
        raise DataError(f"{wrong[0].path}: {wrong[0].message}")
    if need_labels:
        problems += _drop_unlabelled(images, labels)
    samples = tuple(Sample(key, images[key], labels.get(key)) for key in sorted(images))
    if need_labels:
        alone = [sample for sample in samples if sample.label is None]
        if alone and strict:
            advice = "check --labels" if len(alone) == len(samples) else "add the labels or remove the images"
            raise DataError(
                f"{alone[0].image}: has no label {found.expected(alone[0].key)}; "
                f"{len(alone)} of {len(samples)} images have none: {advice}"
            )
        wrong += [
            Problem(s.image, f"has no label {found.expected(s.key)}: add it or remove the image", "no label")
            for s in alone
        ]
    if not found.labels_may_rest:
        problems += [
            Problem(labels[key], f"has no image {found.image_root / key}.*: add it or remove the label", "no image")
            for key in sorted(labels.keys() - images.keys())
        ]
        problems += [
            Problem(path, f"is left out, {path.suffix} files are not read here: convert it to PNG", path.suffix.lower())
            for path in found.unread
        ]
    return samples, (*wrong, *problems)


def _by_key(files: list[tuple[str, Path]], wrong: list[Problem], problems: list[Problem]) -> dict[str, Path]:
    """The file of each key. A preview beside an image of the same name is left out, two images are wrong."""
    paths: dict[str, Path] = {}
    for key, path in sorted(files, key=lambda file: _is_further(file[1])):
        other = paths.setdefault(key, path)
        if other is path:
            continue
        if _is_further(path):
            message = f"is left out, {other.name} has the same name without suffix: rename or remove one"
            problems.append(Problem(path, message, "left out for another"))
        elif other.with_suffix("") != path.with_suffix(""):
            message = f"has the same name as {other.name} in another form of Unicode (NFC, NFD): rename or remove one"
            wrong.append(Problem(path, message, "two forms of Unicode"))
        else:
            message = f"has the same name without suffix as {other.name}: rename or remove one"
            wrong.append(Problem(path, message, "one name"))
    return paths


def _drop_unlabelled(images: dict[str, Path], labels: dict[str, Path]) -> list[Problem]:
    """Leave out previews without a label, as long as there are images of the usual suffixes."""
    if all(map(_is_further, images.values())):
        return []
    return [
        Problem(images.pop(key), "is left out, it has no label: add one or remove the image", "left out, no label")
        for key in sorted(images.keys() - labels.keys())
        if _is_further(images[key])
    ]


def _is_further(path: Path) -> bool:
    return path.suffix.lower() in FURTHER_SUFFIXES
