"""What is executed decides, whatever the processor: here this one is limited to the instructions of lesser ones."""

import json
import os
import subprocess
import sys

import pytest

from zodi.engines.components import load_components
from zodi.engines.graphs import build_graphs
from zodi.engines.profile import graph_profile, make_sizes
from zodi.export.bundle import trace_sizes
from zodi.export.onnx_file import write_graph
from zodi.export.parity import make_references, sample_inputs, save_references
from zodi.ports import graphs

LIMITS = ("AVX2", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "DEFAULT")  # oneDNN's names; OpenVINO heeds them too

ASK = """
import json, sys
from pathlib import Path
from zodi.engines import open_engine
from zodi.engines.components import load_components
from zodi.engines.diagnosis import diagnose
from zodi.engines.openvino_model import compile_graph
from zodi.errors import EngineError
from zodi.export.bundle import file_parity
from zodi.export.parity import load_references
from zodi.ports import graphs

model, folder = Path(sys.argv[1]), Path(sys.argv[2])
components = load_components(str(model))
graph = graphs(components.info.dims)["control_hint"]

def possible(act):
    try:
        act()
    except EngineError as error:
        assert "--precision fp32" in str(error), error
        return False
    return True

def torch_bf16():
    with open_engine(components, "torch", precision="bf16", device="cpu"):
        pass

report = diagnose()
print(json.dumps({
    "told": {
        "torch": "bf16" in report["engines"]["torch"]["cpu_precisions"],
        "openvino": "bf16" in report["engines"]["openvino"]["cpu_precisions"],
    },
    "found": {
        "torch": possible(torch_bf16),
        "openvino": possible(lambda: compile_graph(folder / "fp32.onnx", "bf16", 1)),
    },
    "cpu": report["cpu"]["bf16"],
    "fp32": possible(lambda: compile_graph(folder / "fp32.onnx", "fp32", 1)),
    "parity": {
        precision: file_parity(
            folder / f"{precision}.onnx", graph, load_references(folder / f"{precision}.npz"), precision
        )
        for precision in ("fp32", "bf16")
    },
}))
"""


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    """The graph of the control map with its references, in fp32 and in bf16."""
    directory = tmp_path_factory.mktemp("processors")
    for precision in ("fp32", "bf16"):
        components = load_components(str(tiny_model))
        info, table = components.info, graphs(components.info.dims)["control_hint"]
        profile = graph_profile(table, make_sizes((32, 64), (1, 2, 4), static=True, dims=info.dims), info.dims)
        module = build_graphs(components)["control_hint"]
        references = make_references(module, table, info, profile, vocabulary=50, precision=precision)
        inputs = sample_inputs(table, info, trace_sizes(table, profile, 2), vocabulary=50, seed=0)
        path = directory / f"{precision}.onnx"
        write_graph(module, table, list(inputs.values()), path, profile=profile, precision=precision)
        save_references(directory / f"{precision}.npz", references)
    return directory


@pytest.mark.parametrize("limit", LIMITS)
def test_doctor_reports_what_runs_and_files_of_every_precision_are_checked(tiny_model, folder, limit):
    done = subprocess.run(
        [sys.executable, "-c", ASK, tiny_model, folder],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": limit},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["told"] == answer["found"]
    assert answer["cpu"] == any(answer["found"].values())
    assert answer["fp32"]
    for rows in answer["parity"].values():
        assert len(rows) == 2 and all(0 < row["error"] <= row["allowed"] for row in rows)
