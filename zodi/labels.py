"""Label sets: which classes there are, how label files write them, and in which colours a ControlNet is shown them.

A label image is read into *ids* (every class of the annotation, void ones too). Segmenters are trained and scored on
*train ids* 0..C-1 with 255 for void. Control maps are drawn from ids, so that void classes keep their colours, as in
the colour files that the original feeds its ControlNet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi import label_tables as tables
from zodi.domains import read_toml
from zodi.errors import SettingsError
from zodi.label_tables import ADE20K as ADE20K
from zodi.label_tables import Colour as Colour

Ids = NDArray[np.uint8]

IGNORE = 255  # train id of void, as in Cityscapes' labelTrainIds files
CONTROL_PALETTES = ("cityscapes", "coco", "ade20k")

# sidewalk and rider are the two Cityscapes colours that COCO lacks and that have a near relative there
COCO_OVERRIDES: dict[str, Colour] = {"sidewalk": (96, 96, 96), "rider": (220, 20, 60)}


@dataclass(frozen=True)
class LabelClass:
    """One class of an annotation.

    id        its value in label files of kind "ids"
    train_id  its value for training, 0..C-1, or 255 for void; several ids may share one
    colour    its colour in label files of kind "colours" and in overlays
    control   the Cityscapes class that it is drawn as in control maps, or a colour of its own
    """

    name: str
    id: int
    train_id: int
    colour: Colour
    control: str | Colour


@dataclass(frozen=True)
class LabelSet:
    """The classes of an annotation, in any order of ids."""

    name: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        for attribute in ("name", "id"):
            values = [getattr(c, attribute) for c in self.classes]
            twice = next((v for v in values if values.count(v) > 1), None)
            if twice is not None:
                raise SettingsError(
                    f"label set {self.name!r}: two classes have the {attribute} {twice!r}: make it unique"
                )
        for c in self.classes:
            if not 0 <= c.id <= 255:
                raise SettingsError(f"label set {self.name!r}: class {c.name!r} has id {c.id}, allowed are 0 to 255")
            for colour in (c.colour, c.control):
                if not isinstance(colour, str) and not (len(colour) == 3 and all(0 <= v <= 255 for v in colour)):
                    raise SettingsError(
                        f"label set {self.name!r}: class {c.name!r} has colour {colour}, not three of 0 to 255"
                    )
            if isinstance(c.control, str) and c.control not in _CITYSCAPES_COLOURS:
                raise SettingsError(
                    f"label set {self.name!r}: class {c.name!r} has control {c.control!r}; "
                    f"give [r, g, b] or a Cityscapes class: {', '.join(_CITYSCAPES_COLOURS)}"
                )
        trained = sorted({c.train_id for c in self.classes} - {IGNORE})
        if not trained or trained != list(range(len(trained))):
            raise SettingsError(
                f"label set {self.name!r}: train ids are {trained}, they must be 0, 1, 2 ... without a gap"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the trained classes, by train id (the first class of each)."""
        return tuple(c.name for c in self._trained)

    @property
    def num_classes(self) -> int:
        """How many train ids there are, void not counted."""
        return len(self._trained)

    @cached_property
    def palette(self) -> Ids:
        """Colours of the train ids, (256, 3); void and unused ids are black."""
        table = np.zeros((256, 3), np.uint8)
        for c in self._trained:
            table[c.train_id] = c.colour
        return table

    @cached_property
    def ids(self) -> frozenset[int]:
        """The ids that label files may hold."""
        return frozenset(c.id for c in self.classes)

    @cached_property
    def id_to_train_id(self) -> Ids:
        """Look-up table (256,) from ids to train ids; unknown ids become 255."""
        table = np.full(256, IGNORE, np.uint8)
        for c in self.classes:
            table[c.id] = c.train_id
        return table

    @cached_property
    def train_id_to_id(self) -> Ids:
        """Look-up table (256,) from train ids to ids; 255 becomes `void_id`."""
        table = np.full(256, self.void_id, np.uint8)
        for c in self._trained:
            table[c.train_id] = c.id
        return table

    @cached_property
    def void_id(self) -> int:
        """The id that stands for "not labelled": the first void class, or an id of no class where there is none."""
        void = next((c.id for c in self.classes if c.train_id == IGNORE), None)
        return max(set(range(256)) - self.ids) if void is None else void

    @cached_property
    def id_colours(self) -> Ids:
        """Colours of the ids, (256, 3), as in label files of kind "colours"."""
        table = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            table[c.id] = c.colour
        return table

    def control_colours(self, palette: str = "cityscapes") -> Ids:
        """Colours of the ids in control maps, (256, 3).

        palette  "cityscapes": the colours of Cityscapes; "coco" and "ade20k": those that a ControlNet trained on these
                 data sets knows. Classes that the palette lacks are black. Raises SettingsError for another palette.
        """
        if palette not in CONTROL_PALETTES:
            raise SettingsError(f"unknown control palette {palette!r}: allowed are {', '.join(CONTROL_PALETTES)}")
        table = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            table[c.id] = c.control if not isinstance(c.control, str) else _control_colour(c.control, palette)
        return table

    @cached_property
    def _trained(self) -> tuple[LabelClass, ...]:
        first: dict[int, LabelClass] = {}
        for c in self.classes:
            if c.train_id != IGNORE:
                first.setdefault(c.train_id, c)
        return tuple(first[i] for i in sorted(first))


def _control_colour(cityscapes_class: str, palette: str) -> Colour:
    if palette == "ade20k":
        return ADE20K.get(cityscapes_class, (0, 0, 0))
    colour = _CITYSCAPES_COLOURS[cityscapes_class]
    return COCO_OVERRIDES.get(cityscapes_class, colour) if palette == "coco" else colour


def find_label_set(name_or_file: str) -> LabelSet:
    """A built-in label set by its name, or the one that a `.toml` file describes.

    The file holds an optional `name` and a list `[[classes]]` of tables with `name`, `id`, `train_id` (255: void),
    `colour = [r, g, b]` and `control` (a Cityscapes class or a colour; may be left out where the class has the name of
    a Cityscapes class or is void).

    Raises SettingsError for an unknown name, a missing or malformed file, and unknown or missing keys.
    """
    if name_or_file in LABEL_SETS:
        return LABEL_SETS[name_or_file]
    if not name_or_file.endswith(".toml"):
        raise SettingsError(
            f"unknown label set {name_or_file!r}: allowed are {', '.join(LABEL_SETS)}, or the path of a .toml file"
        )
    path = Path(name_or_file)
    table = read_toml(path)
    _check_keys(path, "the file", table, known=("name", "classes"), required=("classes",))
    rows = table["classes"]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{path}: classes must be a list of tables: write [[classes]] above each")
    return LabelSet(str(table.get("name", path.stem)), tuple(_read_class(path, row) for row in rows))


def _read_class(path: Path, row: Mapping[str, Any]) -> LabelClass:
    where = f"class {row.get('name', '?')!r}"
    _check_keys(path, where, row, ("name", "id", "train_id", "colour", "control"), ("name", "id", "train_id", "colour"))
    for key in ("id", "train_id"):
        if not isinstance(row[key], int) or isinstance(row[key], bool):
            raise SettingsError(f"{path}: {where}: {key} = {row[key]!r} is not a whole number")
    name, control = str(row["name"]), row.get("control")
    if control is None and name in _CITYSCAPES_COLOURS:
        control = name
    if control is None and row["train_id"] == IGNORE:
        control = (0, 0, 0)
    if control is None:
        raise SettingsError(
            f"{path}: {where} needs control = [r, g, b] or the Cityscapes class it looks like: "
            f"{', '.join(_CITYSCAPES_COLOURS)}"
        )
    return LabelClass(
        name, row["id"], row["train_id"], _read_colour(path, where, row["colour"]),
        control if isinstance(control, str) else _read_colour(path, where, control),
    )  # fmt: skip


def _read_colour(path: Path, where: str, value: object) -> Colour:
    values = list(value) if isinstance(value, (list, tuple)) else []
    if len(values) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in values):
        raise SettingsError(f"{path}: {where}: {value!r} is not a colour: write [r, g, b], each 0 to 255")
    return values[0], values[1], values[2]


def _check_keys(
    path: Path, where: str, table: Mapping[str, object], known: tuple[str, ...], required: tuple[str, ...]
) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise SettingsError(f"{path}: unknown key {unknown[0]!r} in {where}, known are {', '.join(known)}")
    missing = [key for key in required if key not in table]
    if missing:
        raise SettingsError(f"{path}: key {missing[0]!r} is missing in {where}")


_CITYSCAPES_COLOURS: dict[str, Colour] = {name: colour for name, _, _, colour in tables.CITYSCAPES}
_CITYSCAPES_TRAIN_IDS: dict[str | None, int] = {name: train_id for name, _, train_id, _ in tables.CITYSCAPES}

CITYSCAPES_19 = LabelSet("cityscapes", tuple(LabelClass(n, i, t, c, n) for n, i, t, c in tables.CITYSCAPES))
CAMVID_11 = LabelSet("camvid", tuple(LabelClass(*row) for row in tables.CAMVID_11))


def _camvid_32() -> LabelSet:
    merged = {c.name: c for c in CAMVID_11.classes}
    first = set(tables.CAMVID_32_FIRST)
    classes = [
        LabelClass(
            one if name in first or one == "void" else name, i, merged[one].train_id, colour, merged[one].control
        )
        for i, (name, one, colour) in enumerate(tables.CAMVID_32)
    ]
    return LabelSet("camvid-32", tuple(sorted(classes, key=lambda c: c.name not in merged)))


def _vistas() -> LabelSet:
    classes = [
        LabelClass(one if i in tables.VISTAS_FIRST else name, i, _CITYSCAPES_TRAIN_IDS[one], colour, one)
        for i, (name, colour, one) in enumerate(tables.VISTAS)
    ]
    return LabelSet("vistas", tuple(sorted(classes, key=lambda c: c.id not in tables.VISTAS_FIRST)))


def _synthia() -> LabelSet:
    classes = []
    for i, (name, one) in enumerate(tables.SYNTHIA):
        control = one or tables.SYNTHIA_CONTROL[name]
        train_id = _CITYSCAPES_TRAIN_IDS[one] if one else IGNORE
        classes.append(LabelClass(one or name, i, train_id, _CITYSCAPES_COLOURS[control], control))
    return LabelSet("synthia", tuple(classes))


def _idd() -> LabelSet:
    return LabelSet(
        "idd",
        tuple(
            LabelClass(one or name, i, _CITYSCAPES_TRAIN_IDS[one] if one else IGNORE, colour, control)
            for i, (name, colour, one, control) in enumerate(tables.IDD)
        ),
    )


LABEL_SETS: dict[str, LabelSet] = {
    label_set.name: label_set for label_set in (CITYSCAPES_19, CAMVID_11, _camvid_32(), _idd(), _synthia(), _vistas())
}
