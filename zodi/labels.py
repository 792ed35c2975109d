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

from zodi.domains import read_toml
from zodi.errors import SettingsError

Colour = tuple[int, int, int]
Ids = NDArray[np.uint8]

IGNORE = 255  # train id of void, as in Cityscapes' labelTrainIds files
CONTROL_PALETTES = ("cityscapes", "coco", "ade20k")

# sidewalk and rider are the two Cityscapes colours that COCO lacks and that have a near relative there
COCO_OVERRIDES: dict[str, Colour] = {"sidewalk": (96, 96, 96), "rider": (220, 20, 60)}

ADE20K: dict[str, Colour] = {
    "road": (140, 140, 140),
    "sidewalk": (235, 255, 7),
    "building": (180, 120, 120),
    "wall": (120, 120, 120),
    "fence": (255, 184, 6),
    "pole": (51, 0, 255),
    "traffic light": (41, 0, 255),
    "traffic sign": (255, 5, 153),
    "vegetation": (4, 200, 3),
    "terrain": (4, 250, 7),
    "sky": (6, 230, 230),
    "person": (150, 5, 61),
    "rider": (150, 5, 61),
    "car": (0, 102, 200),
    "truck": (255, 0, 20),
    "bus": (255, 0, 245),
    "train": (255, 0, 245),
    "motorcycle": (163, 0, 255),
    "bicycle": (255, 245, 0),
}


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


# name, id, train id, colour; from the cityscapesScripts label table (licence plate, id -1, is in no id file)
_CITYSCAPES: tuple[tuple[str, int, int, Colour], ...] = (
    ("unlabeled", 0, 255, (0, 0, 0)),
    ("ego vehicle", 1, 255, (0, 0, 0)),
    ("rectification border", 2, 255, (0, 0, 0)),
    ("out of roi", 3, 255, (0, 0, 0)),
    ("static", 4, 255, (0, 0, 0)),
    ("dynamic", 5, 255, (111, 74, 0)),
    ("ground", 6, 255, (81, 0, 81)),
    ("road", 7, 0, (128, 64, 128)),
    ("sidewalk", 8, 1, (244, 35, 232)),
    ("parking", 9, 255, (250, 170, 160)),
    ("rail track", 10, 255, (230, 150, 140)),
    ("building", 11, 2, (70, 70, 70)),
    ("wall", 12, 3, (102, 102, 156)),
    ("fence", 13, 4, (190, 153, 153)),
    ("guard rail", 14, 255, (180, 165, 180)),
    ("bridge", 15, 255, (150, 100, 100)),
    ("tunnel", 16, 255, (150, 120, 90)),
    ("pole", 17, 5, (153, 153, 153)),
    ("polegroup", 18, 255, (153, 153, 153)),
    ("traffic light", 19, 6, (250, 170, 30)),
    ("traffic sign", 20, 7, (220, 220, 0)),
    ("vegetation", 21, 8, (107, 142, 35)),
    ("terrain", 22, 9, (152, 251, 152)),
    ("sky", 23, 10, (70, 130, 180)),
    ("person", 24, 11, (220, 20, 60)),
    ("rider", 25, 12, (255, 0, 0)),
    ("car", 26, 13, (0, 0, 142)),
    ("truck", 27, 14, (0, 0, 70)),
    ("bus", 28, 15, (0, 60, 100)),
    ("caravan", 29, 255, (0, 0, 90)),
    ("trailer", 30, 255, (0, 0, 110)),
    ("train", 31, 16, (0, 80, 100)),
    ("motorcycle", 32, 17, (0, 0, 230)),
    ("bicycle", 33, 18, (119, 11, 32)),
)

# name, id, train id, colour, Cityscapes class in control maps; the 11 classes and ids of the SegNet preparation
_CAMVID: tuple[tuple[str, int, int, Colour, str | Colour], ...] = (
    ("sky", 0, 0, (128, 128, 128), "sky"),
    ("building", 1, 1, (128, 0, 0), "building"),
    ("pole", 2, 2, (192, 192, 128), "pole"),
    ("road", 3, 3, (128, 64, 128), "road"),
    ("pavement", 4, 4, (60, 40, 222), "sidewalk"),
    ("tree", 5, 5, (128, 128, 0), "vegetation"),
    ("sign", 6, 6, (192, 128, 128), "traffic sign"),
    ("fence", 7, 7, (64, 64, 128), "fence"),
    ("car", 8, 8, (64, 0, 128), "car"),
    ("pedestrian", 9, 9, (64, 64, 0), "person"),
    ("bicyclist", 10, 10, (0, 128, 192), "rider"),
    ("void", 11, 255, (0, 0, 0), (0, 0, 0)),
)

_CITYSCAPES_COLOURS: dict[str, Colour] = {name: colour for name, _, _, colour in _CITYSCAPES}

CITYSCAPES_19 = LabelSet("cityscapes", tuple(LabelClass(n, i, t, c, n) for n, i, t, c in _CITYSCAPES))
CAMVID_11 = LabelSet("camvid", tuple(LabelClass(*row) for row in _CAMVID))
LABEL_SETS: dict[str, LabelSet] = {"cityscapes": CITYSCAPES_19, "camvid": CAMVID_11}
