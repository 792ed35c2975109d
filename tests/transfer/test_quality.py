import numpy as np
import pytest

from zodi.labels import CITYSCAPES_19, IGNORE
from zodi.transfer.quality import class_iou, disagreement, layout_scores, score, summarise

SKY, ROAD, CAR = 10, 0, 13


def scene():
    """An image with a bright sky, a dark road and a car, and its label."""
    label = np.full((32, 64), ROAD, np.uint8)
    label[:16] = SKY
    label[18:26, 20:40] = CAR
    colours = {SKY: (200, 220, 255), ROAD: (60, 60, 60), CAR: (200, 30, 30)}
    image = np.zeros((32, 64, 3), np.uint8)
    for train_id, colour in colours.items():
        image[label == train_id] = colour
    return image, label


def test_scores_of_the_source_itself():
    image, label = scene()
    scores = score(image, image, label, CITYSCAPES_19)
    assert scores["edges"] == pytest.approx(1.0, abs=1e-3)
    assert scores["distance"] == 0.0
    assert scores["luma_sky"] > 0.8 > 0.3 > scores["luma_road"]


def test_edges_survive_darkening_but_not_another_layout():
    image, label = scene()
    night = (image * 0.3).astype(np.uint8)
    kept, lost = (
        score(image, night, label, CITYSCAPES_19),
        score(image, np.roll(image, 8, axis=0), label, CITYSCAPES_19),
    )
    assert kept["edges"] > 0.95 > 0.5 > lost["edges"]
    assert kept["luma_sky"] < 0.3
    assert kept["distance"] > 0.1


def test_scores_leave_out_what_is_not_in_the_label():
    image, _ = scene()
    assert "luma_sky" not in score(image, image, np.full((32, 64), ROAD, np.uint8), CITYSCAPES_19)


def test_layout_is_relative_to_the_source():
    _, label = scene()
    blind_to_cars = np.where(label == CAR, ROAD, label).astype(np.uint8)
    same = layout_scores(blind_to_cars, blind_to_cars, label, CITYSCAPES_19.names)
    assert same["layout"] == 1.0
    assert same["judge_source"] < 0.8
    assert same["classes"]["car"] == 0.0
    worse = layout_scores(label, np.roll(label, 20, axis=1), label, CITYSCAPES_19.names)
    assert worse["layout"] == worse["judge_result"] < 0.9
    assert layout_scores(label, np.full_like(label, 18), label, CITYSCAPES_19.names)["layout"] == 0.0


def test_class_iou_counts_only_labelled_pixels_and_classes():
    label = np.array([[0, 0, 1, IGNORE]], np.uint8)
    predicted = np.array([[0, 1, 1, 5]], np.uint8)
    assert class_iou(predicted, label, 19) == {0: 0.5, 1: 0.5}
    assert class_iou(np.array([[0, 0, 19, 0]], np.uint8), label, 19) == {0: 1.0, 1: 0.0}
    assert class_iou(predicted, np.full_like(label, IGNORE), 19) == {}


def test_only_a_confident_judge_overrules():
    label = np.array([[0, 0, 0, IGNORE]], np.uint8)
    predicted = np.array([[0, 1, 1, 1]], np.uint8)
    confidence = np.array([[0.99, 0.95, 0.5, 0.99]], np.float32)
    assert disagreement(predicted, confidence, label).tolist() == [[False, True, False, False]]


def test_summary():
    rows = [{"edges": 0.5, "classes": {"car": 1.0}}, {"edges": 0.7, "classes": {"car": 0.5, "sky": 0.8}}]
    assert summarise(rows) == {"edges": 0.6, "classes": {"car": 0.75, "sky": 0.8}}
    assert summarise([]) == {}
