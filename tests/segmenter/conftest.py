"""A small real training data set, a net that trains on it in seconds, and a checkpoint."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_street
from nets import TINY

from zodi.segmenter.checkpoint import SegmenterInfo, palette_of, save_checkpoint
from zodi.segmenter.nets import build_net
from zodi.segmenter.settings import TrainSettings, make_settings


@pytest.fixture(autouse=True)
def one_thread():
    """These nets are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Seven labelled images of 48x96."""
    return make_street(tmp_path / "data", count=7)


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Arguments of `build_net`."""
    return dict(TINY)


@pytest.fixture(scope="session")
def quick() -> TrainSettings:
    """Two epochs of three steps."""
    return make_settings(**TINY, size=(48, 96), crop=(32, 64), epochs=2, batch=2, lr=1e-3, seed=3)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of the tiny net with the 19 Cityscapes classes, at 32x64, random weights."""
    from zodi.labels import CITYSCAPES_19

    torch.manual_seed(0)
    built = build_net(TINY["architecture"], TINY["encoder"], 19, options=TINY["options"])
    for _ in range(3):  # statistics of batch norm that are not the first ones
        built.net(torch.randn(4, 3, 32, 64))
    info = SegmenterInfo(
        TINY["architecture"], TINY["encoder"], TINY["options"], CITYSCAPES_19.names, palette_of(CITYSCAPES_19),
        built.mean, built.std, (32, 64),
    )  # fmt: skip
    save_checkpoint(tmp_path / "model", built.net.state_dict(), info)
    return tmp_path / "model"


def weights_hash(directory: Path) -> str:
    """Of a checkpoint's weights."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
