"""A source data set and what a transfer would have made of it: the source's own pixels, changed."""

from pathlib import Path

import pytest
from conftest import make_street
from nets import TINY
from synthetic import make_synthetic

from zodi.segmenter.settings import TrainSettings, make_settings


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Seven labelled images of 48x96, keys a/0 to a/6."""
    return make_street(tmp_path / "source", count=7)


@pytest.fixture
def synthetic(source: Path, tmp_path: Path) -> Path:
    return make_synthetic(source, tmp_path / "synthetic", ("night",))


@pytest.fixture(scope="session")
def quick() -> TrainSettings:
    """Two epochs of three steps."""
    return make_settings(**TINY, size=(48, 96), crop=(32, 64), epochs=2, batch=2, lr=1e-3, seed=3)
