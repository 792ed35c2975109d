"""Training, evaluation and estimates see turned pictures upright, as if they had been stored so."""

import numpy as np
import pytest
from conftest import make_street
from synthetic import make_synthetic
from turned import turn

from zodi.adapt.loading import PairBatches, synthetic_labelled
from zodi.adapt.pairs import find_pairs
from zodi.data import open_dataset
from zodi.errors import DataError
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.evaluate import evaluate
from zodi.segmenter.loading import SourceBatches, labelled
from zodi.segmenter.record import image_size


class Form:
    mean = std = (0.5, 0.5, 0.5)


@pytest.fixture
def plain(tmp_path):
    return open_dataset(None, make_street(tmp_path / "plain", count=8))


@pytest.fixture(params=["shown", "tagged"])
def turned(request, tmp_path):
    return open_dataset(None, turn(make_street(tmp_path / "turned", count=8), request.param))


def test_training(plain, turned, quick, tmp_path):
    for options in ({}, {"cache": tmp_path / "cache"}):
        for expected, found in zip(
            SourceBatches(plain, quick, Form())(0, 0),
            SourceBatches(turned, quick, Form(), **options)(0, 0),
            strict=True,
        ):
            assert all((expected[name] == found[name]).all() for name in ("image", "label"))
    assert image_size(turned) == (48, 96)


def test_pairs(plain, turned, quick, tmp_path):
    """Results of a transfer are upright: each has its source's label as the upright picture has it."""
    output = make_synthetic(plain.root, tmp_path / "made", ("night",))
    batches = [PairBatches(d, find_pairs(d, [output]), quick, Form())(0, 0) for d in (plain, turned)]
    for expected, found in zip(*batches, strict=True):
        assert all((expected[name] == found[name]).all() for name in expected)
    pair = find_pairs(turned, [output])[5]
    label = labelled(turned, pair.sample, (48, 96))[..., 3]
    assert np.array_equal(synthetic_labelled(pair.partners[0], label)[..., 3], label)


def test_evaluation(plain, turned, checkpoint):
    segmenter = load_checkpoint(checkpoint)
    scores = [evaluate(segmenter, [dataset])[0] for dataset in (plain, turned)]
    assert scores[0].classes == CITYSCAPES_19.names and scores[0].counts.sum() > 0
    assert np.array_equal(scores[0].counts, scores[1].counts)


def test_labels_of_stored_pixels_are_refused_by_name(quick, checkpoint, tmp_path):
    stored = open_dataset(None, turn(make_street(tmp_path / "stored", count=8), "stored"))
    with pytest.raises(DataError, match=r"EXIF orientation [5-8] turns [4-7]\.png upright"):
        list(SourceBatches(stored, quick, Form(), workers=1)(0, 0))
    with pytest.raises(DataError, match=r"EXIF orientation 5 turns 4\.png upright"):
        evaluate(load_checkpoint(checkpoint), [stored])
