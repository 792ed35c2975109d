"""ONNX files for others: opset, IR version, and the oldest ONNX Runtime that the docs name, which is installed."""

import re
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from zodi.api import SegmenterChoice, export_segmenter
from zodi.engines.segmenters import open_segmenter
from zodi.errors import ModelError
from zodi.export.onnx_file import ONNXRUNTIMES, lowest_ir
from zodi.export.segmenter_onnx import add_head, trace

DOCS = Path(__file__).parents[2] / "docs" / "deploy.md"
RUN = """
import sys
import numpy as np
import onnxruntime

model, images, ids = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
assert "classes" in session.get_modelmeta().custom_metadata_map["zodi"]
np.save(ids, session.run(None, {"image": np.load(images)})[0])
print(onnxruntime.__version__)
"""


def test_ir_versions_are_those_of_onnx():
    assert {opset: lowest_ir({"": opset}) for opset in ONNXRUNTIMES} == {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
    assert lowest_ir({"": 20, "com.microsoft": 1}) == 9


def test_the_docs_have_the_table():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(int(opset), int(ir), version) for opset, ir, version in rows] == [
        (opset, lowest_ir({"": opset}), version) for opset, version in ONNXRUNTIMES.items()
    ]


def test_nothing_of_a_later_ir_version_is_left_in_the_graph(traced, file, tmp_path):
    """Metadata of nodes, tensors and values came with IR version 10."""
    add_head(traced, tmp_path / "finished.onnx", file, "labels")
    model = onnx.load(tmp_path / "finished.onnx")
    graph = model.graph
    assert model.ir_version == 9
    assert not model.functions
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        assert not part.metadata_props, part.name


class Bessel(nn.Module):
    """A net with an operator that ONNX has not."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(images).repeat(1, 7, 1, 1)


def test_a_net_that_an_opset_cannot_express(segmenter, file, tmp_path):
    with pytest.raises(
        ModelError, match=r"cannot be written in opset 20: .*bessel_j0.*: use another --opset"
    ) as raised:
        trace(replace(segmenter, net=Bessel()), tmp_path / "x.onnx", file, 20)
    assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match="cannot be written in opset 17: the exporter left it at 18"):
        trace(segmenter, tmp_path / "x.onnx", file, 17)
    assert not (tmp_path / "x.onnx").exists()


# --- in the oldest runtimes


@pytest.fixture(scope="module")
def python_with(tmp_path_factory):
    """Makes an environment with one version of onnxruntime and nothing of zodi; returns its Python."""
    made: dict[str, Path] = {}

    def make(version: str) -> Path:
        if version not in made:
            place = tmp_path_factory.mktemp("env") / version
            venv.create(place, with_pip=True)
            python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
            done = subprocess.run(
                [python, "-m", "pip", "install", "--no-deps", f"onnxruntime=={version}.0", "numpy<2"],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                pytest.skip(f"onnxruntime {version}.0 cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
            made[version] = python
        return made[version]

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opset", "precision"),
    [*((opset, "fp32") for opset in ONNXRUNTIMES), (18, "int8"), (20, "int8"), (20, "fp16")],
)
def test_a_file_runs_in_the_oldest_runtime_that_the_docs_name(
    checkpoint, street_set, tmp_path, python_with, opset, precision
):
    python = python_with(ONNXRUNTIMES[opset])
    choice = SegmenterChoice(precision=precision, opset=opset, max_drop=100.0)
    calibrate = [f"folder={street_set.root}"] if precision == "int8" else []
    export_segmenter(checkpoint, tmp_path, choice, dataset=street_set, samples=2, calibrate=calibrate)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [python, "-c", RUN, tmp_path / "model.onnx", tmp_path / "images.npy", tmp_path / "ids.npy"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{ONNXRUNTIMES[opset]}.0"
    if precision == "int8":  # optimised by 1.21 and later it rounds otherwise: compare the file as written
        plain = onnxruntime.SessionOptions()
        plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", plain, providers=["CPUExecutionProvider"])
        (here,) = session.run(None, {"image": images})
    else:
        here = open_segmenter(tmp_path / "model.onnx", device="cpu").predict(images)
    assert len(np.unique(here)) > 3
    assert np.array_equal(np.load(tmp_path / "ids.npy"), here)
