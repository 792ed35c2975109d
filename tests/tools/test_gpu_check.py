"""The check for GPUs, without one: the tiny model on the CPU; what needs a GPU says so by name."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"
CORRECT = ["machine", "matrix peak", "trt", "ort", "steps ort"]
FAST = ["speed original", "speed torch", "speed ort"]
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device: run the tool itself")


@pytest.fixture(scope="module")
def tool() -> Any:
    """The tool as a module; its folder is not a package of zodi."""
    sys.path.insert(0, str(TOOLS))
    import gpu_check

    yield gpu_check
    sys.path.remove(str(TOOLS))


@pytest.fixture
def usual(tiny_model, tiny_bundle, tmp_path) -> list[str]:
    """A command line on the tiny model, whose bundle is there."""
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    return [
        "-o", str(tmp_path), "--model", str(tiny_model), "--precision", "fp32", "--size", "32x64", "--batches", "1,2",
        "--steps", "2", "--rounds", "1", "--only",
    ]  # fmt: skip


def read(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "gpu-check.json").read_text()))


@no_cuda
def test_a_dry_run_on_the_cpu_compares_engines_and_goes_on_where_it_stopped(tool, usual, tmp_path, capsys):
    assert tool.main([*usual, *CORRECT[:3]]) == 0
    first = read(tmp_path)["parts"]
    assert list(first) == CORRECT[:3]
    capsys.readouterr()
    assert tool.main([*usual, *CORRECT]) == 0
    printed = capsys.readouterr().out
    assert "machine ..." not in printed and "steps ort ..." in printed  # what is done is not done again
    result = read(tmp_path)
    parts = result["parts"]
    assert parts["machine"] == first["machine"] and set(parts) == set(CORRECT)
    assert parts["trt"]["status"].startswith("not run: --engine trt: there is no GPU here to build for")
    assert len(parts["ort"]["parity"]) == 5 and max(parts["ort"]["parity"].values()) <= 1
    assert len(parts["steps ort"]["errors"]) == 2 and max(parts["steps ort"]["errors"]) <= parts["steps ort"]["allowed"]
    assert set(result["claims"].values()) == {None}
    assert "10 x the original: not measured" in printed and "images/s" in printed
    with pytest.raises(SystemExit, match="was measured with other settings"):
        tool.main([*usual[:8], "--batches", "4"])


@pytest.mark.slow
@no_cuda
def test_a_dry_run_on_the_cpu_measures_speed(tool, usual, tmp_path):
    assert tool.main([*usual, "matrix peak", *FAST]) == 0
    rows = {(row["way"], row["batch"]): row for row in read(tmp_path)["rows"]}
    assert set(rows) == {("original", 1), ("torch", 1), ("torch", 2), ("ort", 1), ("ort", 2)}
    assert rows["original", 1]["ratio_to_original"] == 1 and rows["original", 1]["precision"] == "fp32"
    assert all(row["images_per_s"] > 0 and row["ms_per_denoiser_call"] > 0 for row in rows.values())
    assert all(0 < row["matrix_peak_share"] < 1 and row["device_mib"] is None for row in rows.values())


def test_parts_that_time_did_not_allow_wait_for_the_next_call(tool, tiny_model, tmp_path, capsys):
    assert tool.main(["-o", str(tmp_path), "--model", str(tiny_model), "--minutes", "-1"]) == 0
    parts = json.loads((tmp_path / "gpu-check.json").read_text())["parts"]
    assert len(parts) >= 12 and all("time was up" in part["status"] for part in parts.values())


@pytest.mark.parametrize(
    ("trt", "compiled", "reached"),
    [(20.0, 10.0, [True, True, True]), (5.0, 10.0, [False, False, False])],
)
def test_what_was_to_be_reached_is_judged_at_the_largest_batch(tool, trt, compiled, reached):
    from gpu_parts.table import make_claims, make_rows

    def row(way, batch, rate, flops=None):
        return {"way": way, "batch": batch, "images_per_s": rate, "ms_per_denoiser_call": 1e3 / rate, "flops": flops}

    parts = {
        "matrix peak": {"tflops": 100.0},
        "speed original": {"rows": [row("original", 1, 1.0)]},
        "speed trt": {"rows": [row("trt", 1, 99.0), row("trt", 8, trt)]},
        "speed torch-compile": {"rows": [row("torch-compile", 8, compiled)]},
        "speed torch": {"rows": [row("torch", 8, 2.0, flops=4e12)]},
    }
    rows = make_rows(parts)
    assert list(make_claims(rows).values()) == reached
    assert [r["matrix_peak_share"] for r in rows if r["way"] == "trt"] == [None, pytest.approx(0.04 * trt)]
