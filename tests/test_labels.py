import numpy as np
import pytest

from zodi.errors import SettingsError
from zodi.labels import ADE20K, CAMVID_11, CITYSCAPES_19, IGNORE, LabelClass, LabelSet, find_label_set

TOML = """
name = "mine"
[[classes]]
name = "road"
id = 1
train_id = 0
colour = [10, 20, 30]
[[classes]]
name = "shrub"
id = 2
train_id = 1
colour = [0, 255, 0]
control = "vegetation"
[[classes]]
name = "void"
id = 0
train_id = 255
colour = [0, 0, 0]
"""


def test_cityscapes_is_the_table_of_cityscapesscripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    theirs = {label.id: (label.name, label.trainId, label.color) for label in labels if label.id >= 0}
    ours = {c.id: (c.name, c.train_id, c.colour) for c in CITYSCAPES_19.classes}
    assert ours == theirs
    assert len(ours) == 34


def test_nineteen_classes_in_the_usual_order():
    assert CITYSCAPES_19.num_classes == 19
    assert CITYSCAPES_19.names[:3] == ("road", "sidewalk", "building")
    assert CITYSCAPES_19.names[18] == "bicycle"
    assert (CITYSCAPES_19.train_id_to_id[np.arange(19)] == [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]).all()
    assert CITYSCAPES_19.id_to_train_id[[7, 33, 29, 200]].tolist() == [0, 18, IGNORE, IGNORE]
    assert CITYSCAPES_19.train_id_to_id[IGNORE] == CITYSCAPES_19.void_id == 0


def test_control_palettes():
    plain, coco, ade = (CITYSCAPES_19.control_colours(p) for p in ("cityscapes", "coco", "ade20k"))
    changed = [c.name for c in CITYSCAPES_19.classes if (plain[c.id] != coco[c.id]).any()]
    assert changed == ["sidewalk", "rider"]
    assert set(ADE20K) == set(CITYSCAPES_19.names)
    assert ade[7].tolist() == [140, 140, 140]
    assert ade[0].tolist() == [0, 0, 0]
    with pytest.raises(SettingsError, match="allowed are cityscapes, coco, ade20k"):
        CITYSCAPES_19.control_colours("rainbow")


def test_camvid():
    assert CAMVID_11.num_classes == 11
    assert CAMVID_11.control_colours()[4].tolist() == [244, 35, 232]  # pavement is drawn as sidewalk
    assert CAMVID_11.void_id == 11


def test_a_label_set_from_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    mine = find_label_set(str(path))
    assert mine.names == ("road", "shrub")
    assert mine.control_colours()[[0, 1, 2]].tolist() == [[0, 0, 0], [128, 64, 128], [107, 142, 35]]
    assert mine.palette[:2].tolist() == [[10, 20, 30], [0, 255, 0]]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('control = "vegetation"', 'kontrol = "vegetation"', "unknown key 'kontrol'.*known are name, id"),
        ('control = "vegetation"', "", "needs control"),
        ('control = "vegetation"', 'control = "bush"', "control 'bush'"),
        ("train_id = 1", "train_id = 3", "without a gap"),
        ("id = 2\n", "id = 1\n", "two classes have the id 1"),
        ("colour = [0, 255, 0]", "colour = [0, 256, 0]", "not a colour"),
        ("colour = [0, 255, 0]", 'colour = "green"', "not a colour"),
        ("train_id = 1", 'train_id = "1"', "not a whole number"),
        ("id = 2\n", "id = 300\n", "0 to 255"),
        ("[[classes]]", "[classes", "not valid TOML"),
        ('name = "mine"', 'nom = "mine"', "unknown key 'nom'"),
    ],
)
def test_a_wrong_toml_says_what_is_wrong(tmp_path, old, new, says):
    path = tmp_path / "mine.toml"
    assert old in TOML
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(SettingsError, match=says):
        find_label_set(str(path))


def test_unknown_names():
    with pytest.raises(SettingsError, match="allowed are cityscapes, camvid"):
        find_label_set("kitti")
    with pytest.raises(SettingsError, match="cannot be read"):
        find_label_set("missing.toml")


def test_a_set_without_void_still_has_an_id_for_it():
    only = LabelSet("only", (LabelClass("road", 0, 0, (1, 2, 3), "road"),))
    assert only.void_id not in only.ids
    assert only.id_to_train_id[only.void_id] == IGNORE
