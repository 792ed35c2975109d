"""Scores of subsets and of merged classes equal those of ids that were mapped in plain numpy first."""

import json

import numpy as np
import pytest

from zodi.data import open_dataset
from zodi.errors import DataError, SettingsError
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.class_views import SYNTHIA_13, SYNTHIA_16, ClassView, read_view
from zodi.segmenter.evaluate import EvaluateSettings, as_json, evaluate
from zodi.segmenter.metrics import count_confusion, mean_iou

NAMES = CITYSCAPES_19.names


def test_presets_are_those_of_the_literature():
    """The tables' columns, as ADVENT and AdaptSegNet print them."""
    assert SYNTHIA_16 == (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "sky",
        "person", "rider", "car", "bus", "motorcycle", "bicycle",
    )  # fmt: skip
    assert SYNTHIA_13 == (
        "road", "sidewalk", "building", "traffic light", "traffic sign", "vegetation", "sky", "person", "rider", "car",
        "bus", "motorcycle", "bicycle",
    )  # fmt: skip


@pytest.fixture
def ids():
    """Truth with void, and a prediction that is right half of the time."""
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([*range(18), 255], np.uint8), 4000)
    prediction = np.where(rng.random(4000) < 0.5, truth, rng.integers(0, 19, 4000)).astype(np.uint8)
    prediction[truth == 255] = 3
    return truth, prediction


def iou(truth, prediction, c):
    return (truth == prediction)[truth == c].sum() / ((truth == c) | ((prediction == c) & (truth != 255))).sum()


def test_the_mean_of_a_subset(ids):
    truth, prediction = ids
    counts = count_confusion(truth, prediction, 19)
    chosen = [NAMES.index(name) for name in SYNTHIA_16]
    assert mean_iou(counts, chosen) == pytest.approx(np.mean([iou(truth, prediction, c) for c in chosen]))
    assert mean_iou(counts, [17, 18]) == pytest.approx(np.mean([iou(truth, prediction, c) for c in (17, 18)]))
    assert mean_iou(counts, [17, 18]) != pytest.approx(mean_iou(counts))
    assert np.isnan(mean_iou(np.zeros((19, 19), np.int64), [0]))


@pytest.mark.parametrize(
    ("merge", "labels", "predictions", "left"),
    [
        (["rider=person", "truck=car,bus=car"], {12: 11, 14: 13, 15: 13}, {12: 11, 14: 13, 15: 13}, 16),
        (["labels:rider=person"], {12: 11}, {}, 19),
        (["predictions:truck=car"], {}, {14: 13}, 19),
        (["labels:terrain=void", "predictions:terrain=vegetation"], {9: 255}, {9: 8}, 18),
    ],
)
def test_merged_counts_are_those_of_mapped_ids(ids, merge, labels, predictions, left):
    view = read_view(merge=merge)
    mapped = [array.copy() for array in ids]
    for array, table in zip(mapped, (labels, predictions), strict=True):
        for old, new in table.items():
            array[array == old] = new
    expected = count_confusion(*mapped, 19)
    kept = [NAMES.index(name) for name in view.classes(NAMES)]
    assert len(kept) == left
    assert np.array_equal(view.counts(count_confusion(*ids, 19), NAMES), expected[np.ix_(kept, kept)])
    assert expected.sum() == expected[np.ix_(kept, kept)].sum()


def test_a_file_says_the_same(tmp_path):
    (tmp_path / "m.toml").write_text(
        'rider = "person"\n[labels]\nterrain = "void"\n[predictions]\n"traffic light" = "pole"\n'
    )
    view = read_view(merge=[str(tmp_path / "m.toml")])
    assert view == read_view(merge=["rider=person", "labels:terrain=void", "predictions:traffic light = pole"])
    assert view.labels == {"rider": "person", "terrain": "void"}


@pytest.mark.parametrize(
    ("classes", "merge", "message"),
    [
        (["road,raod"], [], r"classes names 'raod', which is no class: allowed are road, sidewalk"),
        (["synthia-9"], [], "classes names 'synthia-9'"),
        (["rider"], ["rider=person"], "classes names 'rider', which is no class but merged into another"),
        ([], ["raider=person"], "merge labels raider=person: 'raider' is no class"),
        ([], ["rider=persons"], "'persons' is no class"),
        (
            [],
            ["rider=void"],
            r"predictions rider=void: 'void' is no class \(void is for labels alone: labels:rider",
        ),
        ([], ["rider=person,person=car"], "'person' is merged itself: name its last class"),
        ([], ["rider=rider"], "'rider' is merged itself"),
        ([], ["rider"], "'rider' has no class to count as: write A=B"),
        ([], ["=car"], "'' has no class"),
        ([], ["rider=person", "labels:rider=car"], "'rider' is also merged into 'person': choose one"),
        ([], ["gone.toml"], r"gone\.toml: cannot be read"),
    ],
)
def test_what_fits_no_class_is_refused(classes, merge, message):
    with pytest.raises(SettingsError, match=message):
        read_view(classes, merge).classes(NAMES)


@pytest.mark.parametrize("text", ["rider = 3\n", "[labels]\nrider = true\n", "labels = 3\n"])
def test_files_of_another_form(tmp_path, text):
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(SettingsError, match="has no class to count as"):
        read_view(merge=[str(tmp_path / "m.toml")])


def test_merged_classes_in_json_and_picture(data, checkpoint, cli, tmp_path):
    assert "merged" not in json.loads(cli("evaluate", checkpoint, data, "--json", "-").stdout)
    done = cli("evaluate", checkpoint, data, "--merge", "rider=person", "--json", "-", "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["merged"] == {"labels": {"rider": "person"}, "predictions": {"rider": "person"}}
    assert list(content["results"][0]["iou"]) == [name for name in NAMES if name != "rider"]
    assert list((tmp_path / "out").glob("confusion-*.png"))


def test_the_command(data, checkpoint, cli, tmp_path):
    words = ("evaluate", checkpoint, data, "--classes", "synthia-16", "--classes", "road,sky")
    done = cli(*words, "--json", "-", "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["subsets"] == {"synthia-16": list(SYNTHIA_16), "road,sky": ["road", "sky"]}
    (result,) = content["results"]
    known = [result["iou"][name] for name in SYNTHIA_16 if result["iou"][name] is not None]
    assert result["miou_subsets"]["synthia-16"] == pytest.approx(np.mean(known))
    assert result["miou_subsets"]["road,sky"] == pytest.approx((result["iou"]["road"] + result["iou"]["sky"]) / 2)
    every = [value for value in result["iou"].values() if value is not None]
    assert result["miou"] == pytest.approx(np.mean(every))
    shown = cli(*words).stdout
    assert "mean IoU, synthia-16" in shown and "mean IoU, 2 classes" in shown
    wrong = cli("evaluate", checkpoint, data, "--classes", "raod")
    assert wrong.status == 1 and wrong.stderr.count("\n") == 1 and "'raod', which is no class" in wrong.stderr


def test_labels_that_all_become_void(data, checkpoint):
    view = ClassView(labels=dict.fromkeys(NAMES, "void"))
    with pytest.raises(DataError, match="no pixel of a trained class"):
        evaluate(load_checkpoint(checkpoint), [open_dataset(None, data)], EvaluateSettings(view=view))


def test_a_view_does_not_change_what_is_counted_without_it(data, checkpoint):
    segmenter, datasets = load_checkpoint(checkpoint), [open_dataset(None, data)]
    plain, viewed = (evaluate(segmenter, datasets, EvaluateSettings(view=view)) for view in (
        ClassView(), ClassView(subsets={"synthia-13": SYNTHIA_13})))  # fmt: skip
    assert np.array_equal(plain[0].counts, viewed[0].counts)
    assert as_json(checkpoint, "", plain)["results"][0]["miou"] == viewed[0].as_json()["miou"]
