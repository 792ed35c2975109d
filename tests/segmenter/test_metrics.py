"""Metrics: counts by hand, and the same numbers as Cityscapes' own evaluation and torchmetrics."""

import types

import numpy as np
import pytest
import torch
from PIL import Image

from zodi.labels import CITYSCAPES_19
from zodi.segmenter.metrics import class_iou, count_confusion, mean_iou, pixel_accuracy


def pair(seed, shape=(40, 50), classes=19, absent=(), void=0.1):
    """Truth, and a prediction that is right for about half of the pixels; `absent` occurs in neither."""
    rng = np.random.default_rng(seed)
    present = [c for c in range(classes) if c not in absent]
    truth = rng.choice(present, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < 0.5, truth, rng.choice(present, shape)).astype(np.uint8)
    truth[rng.random(shape) < void] = 255
    return truth, prediction


def test_counts_by_hand():
    truth = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
    prediction = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    counts = count_confusion(truth, prediction, 4)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(class_iou(counts), [1 / 3, 2 / 3, 0, np.nan])
    assert mean_iou(counts) == pytest.approx(1 / 3)  # the fourth class is absent, not 0
    assert pixel_accuracy(counts) == pytest.approx(3 / 5)


def test_counts_add_up():
    pairs = [pair(seed) for seed in range(3)]
    whole = count_confusion(np.stack([t for t, _ in pairs]), np.stack([p for _, p in pairs]), 19)
    assert np.array_equal(whole, sum(count_confusion(t, p, 19) for t, p in pairs))
    assert whole.sum() == sum((t != 255).sum() for t, _ in pairs)


def test_nothing_is_labelled():
    counts = count_confusion(np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8), 3)
    assert np.isnan([mean_iou(counts), pixel_accuracy(counts), *class_iou(counts)]).all()


def test_ids_out_of_range_are_not_counted_elsewhere():
    good = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="truth has id 19"):
        count_confusion(np.full((2, 2), 19, np.uint8), good, 19)
    with pytest.raises(ValueError, match="prediction has id 20"):
        count_confusion(good, np.full((2, 2), 20, np.uint8), 19)
    with pytest.raises(ValueError, match="shape"):
        count_confusion(good, np.zeros((2, 3), np.uint8), 19)


@pytest.mark.parametrize("absent", [(), (3, 16)])
def test_same_as_cityscapes_evaluation(tmp_path, absent):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

    to_id = CITYSCAPES_19.train_id_to_id
    counts = np.zeros((19, 19), np.int64)
    files = []
    for i in range(3):
        truth, prediction = pair(i, absent=absent)
        counts += count_confusion(truth, prediction, 19)
        for kind, ids in (("truth", truth), ("prediction", prediction)):
            Image.fromarray(to_id[ids]).save(tmp_path / f"{kind}{i}.png")
        files.append((str(tmp_path / f"prediction{i}.png"), str(tmp_path / f"truth{i}.png")))
    arguments = types.SimpleNamespace(**vars(official.args))
    arguments.evalInstLevelScore = arguments.evalPixelAccuracy = False  # both call what numpy 2.4 no longer has
    arguments.JSONOutput, arguments.quiet, arguments.printRow, arguments.bold = False, True, False, False
    result = official.evaluateImgLists([p for p, _ in files], [t for _, t in files], arguments)
    assert mean_iou(counts) == pytest.approx(result["averageScoreClasses"], abs=1e-6)
    expected = [result["classScores"][name] for name in CITYSCAPES_19.names]
    np.testing.assert_allclose(class_iou(counts), expected, atol=1e-6)
    assert np.isnan(expected).sum() == len(absent)
    assert 0.2 < mean_iou(counts) < 0.6


@pytest.mark.parametrize("absent", [(), (0, 7)])
def test_same_as_torchmetrics(absent):
    from torchmetrics import Accuracy, JaccardIndex

    truth, prediction = pair(5, absent=absent)
    counts = count_confusion(truth, prediction, 19)
    options = {"task": "multiclass", "num_classes": 19, "ignore_index": 255}
    tensors = torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
    each = JaccardIndex(average="none", **options)(*tensors).numpy()
    present = [c for c in range(19) if c not in absent]
    np.testing.assert_allclose(class_iou(counts)[present], each[present], atol=1e-6)
    assert mean_iou(counts) == pytest.approx(float(JaccardIndex(average="macro", **options)(*tensors)), abs=1e-6)
    assert pixel_accuracy(counts) == pytest.approx(float(Accuracy(average="micro", **options)(*tensors)), abs=1e-6)
