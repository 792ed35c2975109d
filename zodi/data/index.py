"""From a layout's name and a root to a `Dataset`: first what labels mean, then files paired by key."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from zodi.data import camvid, folder, gta5, trees
from zodi.data.dataset import Dataset, Problem, Sample
from zodi.data.label_files import LABEL_KINDS
from zodi.data.layout import Found, Request, without_type
from zodi.data.suffixes import FURTHER_SUFFIXES
from zodi.errors import DataError
from zodi.labels import LABEL_SETS, LabelSet, find_label_set


@dataclass(frozen=True)
class Layout:
    """How files are found, and what labels mean where the user does not say.

    meaning               label set and kind of labels of a root; None: the user must say
    label_sets            the label set of other kinds of labels, where it is another
    unknown_ids_are_void  see `zodi.data.dataset.Dataset`
    wide_ids              likewise
    """

    find: Callable[[Path, Request], Found]
    meaning: Callable[[Path], tuple[str, str]] | None
    label_sets: Mapping[str, str] = field(default_factory=dict)
    unknown_ids_are_void: bool = False
    wide_ids: bool = False


def _always(label_set: str, labels: str) -> Callable[[Path], tuple[str, str]]:
    return lambda root: (label_set, labels)


LAYOUTS: dict[str, Layout] = {
    "cityscapes": Layout(trees.CITYSCAPES.find, _always("cityscapes", "ids")),
    "acdc": Layout(trees.ACDC.find, _always("cityscapes", "ids")),
    "gta5": Layout(gta5.find, _always("cityscapes", "ids"), unknown_ids_are_void=True),
    "camvid": Layout(camvid.find, camvid.meaning),
    "folder": Layout(folder.find, None),
    "bdd100k": Layout(trees.find_first(trees.BDD100K), _always("cityscapes", "train-ids")),
    "dark-zurich": Layout(trees.DARK_ZURICH.find, _always("cityscapes", "ids")),
    "idd": Layout(trees.IDD.find, _always("cityscapes", "train-ids"), {"ids": "idd"}),
    "synthia": Layout(trees.SYNTHIA.find, _always("synthia", "ids"), {"train-ids": "cityscapes"}, wide_ids=True),
    "vistas": Layout(trees.find_first(trees.VISTAS), _always("vistas", "ids")),
}


def open_dataset(
    name: str | None,
    root: Path,
    *,
    split: str | None = None,
    condition: str | None = None,
    labels: str | None = None,
    label_set: str | LabelSet | None = None,
    label_suffix: str | None = None,
    strict: bool = True,
    need_labels: bool = True,
    trust_labels: bool = False,
) -> Dataset:
    """The samples of a data set; no image or label is opened.

    name         a layout, see `LAYOUTS`; None: as `ROOT/dataset.json` says
    split        None: all that have labels, without `test`
    condition    of acdc: "fog", "night", "rain", "snow"; of dark-zurich: "day", "twilight", "night"; None or "all": all
    labels       "ids", "train-ids" or "colours"; None: as `ROOT/dataset.json` or else the layout says, never guessed
    label_set    a label set, its name or its .toml file; None: likewise
    label_suffix how the names of labels end, beyond those of their images, e.g. "_L"; None: likewise
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
    usual_set, usual_kind = layout.meaning(root) if layout.meaning is not None else (None, None)
    kind = labels or described.get("labels") or usual_kind
    meaning = label_set or described.get("label_set") or layout.label_sets.get(kind or "", usual_set)
    suffix = described.get("label_suffix") if label_suffix is None else label_suffix
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
    found = layout.find(root, Request(split, condition, kind, need_labels, without_type(suffix)))
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
        wide_ids=layout.wide_ids and kind == "ids",
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
    spare = labels.keys() - images.keys()
    if need_labels:
        alone = [sample for sample in samples if sample.label is None]
        if alone and strict:
            advice = "check --labels" if len(alone) == len(samples) else "add the labels or remove the images"
            if (ending := _common_ending(alone, spare)) is not None:
                advice = f"there are labels that end in {ending}, give --label-suffix {ending}"
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
            for key in sorted(spare)
            if not any(key[:end] in images and key[:end] in labels for end in _ends(key))
        ]
        problems += [
            Problem(path, f"is left out, {path.suffix} files are not read here: convert it to PNG", path.suffix.lower())
            for path in found.unread
        ]
    return samples, (*wrong, *problems)


def _ends(key: str) -> list[int]:
    """Where names may end to which something is added: before each "_" or "." of the last part."""
    return [found.start() for found in re.finditer(r"[_.](?!.*/)", key)]


def _common_ending(alone: list[Sample], spare: AbstractSet[str]) -> str | None:
    """What most images without label would have to add to their names to find one."""
    keys = {sample.key for sample in alone}
    endings = Counter(key[end:] for key in spare for end in _ends(key) if key[:end] in keys)
    ending, count = endings.most_common(1)[0] if endings else ("", 0)
    return ending if 2 * count > len(keys) else None


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
