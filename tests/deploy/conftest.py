"""A tiny segmenter, labelled images, its traced graph, and the file that the command makes of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_street
from nets import TINY

from zodi.api import SegmenterChoice, export_segmenter
from zodi.data import Dataset, open_dataset
from zodi.deploying import labelled
from zodi.export.acceptance import Reference, make_reference
from zodi.export.segmenter import describe
from zodi.export.segmenter_files import write_file
from zodi.export.segmenter_onnx import add_head, trace
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import Segmenter, SegmenterInfo, load_checkpoint, palette_of, save_checkpoint
from zodi.segmenter.info import FileInfo
from zodi.segmenter.nets import build_net

SIZE = (32, 64)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """These nets are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def street_set(tmp_path_factory) -> Dataset:
    """Six labelled images of 48x96."""
    return open_dataset(None, make_street(tmp_path_factory.mktemp("data") / "street", count=6))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Random weights, with a void logit and batch norm statistics that are not the first ones."""
    torch.manual_seed(0)
    options = TINY["options"] | {"void_logit": True}
    built = build_net(TINY["architecture"], TINY["encoder"], 19, options=options)
    for _ in range(3):
        built.net(torch.randn(4, 3, *SIZE))
    with torch.no_grad():  # else one class would win everywhere
        built.net.segmentation_head[0].bias -= built.net.eval()(torch.randn(4, 3, *SIZE)).mean(dim=(0, 2, 3))
    info = SegmenterInfo(
        TINY["architecture"], TINY["encoder"], options, CITYSCAPES_19.names, palette_of(CITYSCAPES_19),
        (0.4, 0.5, 0.6), (0.3, 0.2, 0.25), SIZE,
    )  # fmt: skip
    directory = tmp_path_factory.mktemp("models") / "tiny"
    save_checkpoint(directory, built.net.state_dict(), info)
    return directory


@pytest.fixture(scope="session")
def segmenter(checkpoint) -> Segmenter:
    return load_checkpoint(checkpoint)


@pytest.fixture(scope="session")
def file(segmenter) -> FileInfo:
    """An ONNX file in fp32 that returns labels, for any number of images of 32x64."""
    return describe(segmenter, SegmenterChoice(), "0123")


@pytest.fixture(scope="session")
def reference(segmenter, street_set, file) -> Reference:
    """What PyTorch says of six images, to compare an fp32 file with."""
    return make_reference(segmenter, labelled(street_set, file, 6), file)


@pytest.fixture(scope="session")
def traced(segmenter, file, tmp_path_factory) -> Path:
    """The fp32 graph with logits."""
    path = tmp_path_factory.mktemp("graphs") / "traced.onnx"
    trace(segmenter, path, file, file.made["opset"])
    return path


@pytest.fixture(scope="session")
def exported(checkpoint, street_set, tmp_path_factory) -> Path:
    """The directory of an ONNX export."""
    directory = tmp_path_factory.mktemp("exported") / "onnx"
    export_segmenter(checkpoint, directory, SegmenterChoice(), dataset=street_set)
    return directory


@pytest.fixture(scope="session")
def openvino_file(traced, file, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("openvino")
    add_head(traced, directory / "finished.onnx", file, "labels")
    return write_file(directory / "finished.onnx", directory, replace(file, format="openvino"))
