"""Stable Diffusion 1.5's sizes with random weights: memory of the export, parity of engines per graph, and plans."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/random_model.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("full-size") / "model"
    subprocess.run([sys.executable, str(TOOL), str(directory), "--image-size", "256"], check=True)
    return directory


def zodi(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "zodi.cli", *map(str, arguments)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_export_and_engines_at_full_size(model: Path, tmp_path: Path):
    bundle = tmp_path / "bundle"
    zodi(
        "export-engines", "--model", model, "--engine", "onnx", "--image-size", "256x512", "--batch", "1:2:2",
        "--bundle", bundle,
    )  # fmt: skip
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert peak_gib <= 14
    for engine in ("ort", "openvino"):
        zodi("engines", "verify", bundle, "--engine", engine)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_plans_at_full_size(model: Path, tmp_path: Path):
    """Ahead of time, all five graphs, static and dynamic, in both precisions; the decoder stays fp32 in fp16."""
    for kind in ("--static", "--dynamic"):
        sizes = {}
        for precision in ("fp32", "fp16"):
            bundle = tmp_path / precision
            zodi(
                "export-engines", "--model", model, "--engine", "trt", "--compute-capability", "8.9", "--precision",
                precision, "--image-size", "256x512", "--batch", "1", kind, "--bundle", bundle,
            )  # fmt: skip
            plans = {path.stem: path.stat().st_size for path in bundle.glob("*.plan")}
            assert len(plans) == 5
            del plans["vae_decoder"]
            sizes[precision] = sum(plans.values())
            shutil.rmtree(bundle)
        assert sizes["fp16"] < 0.65 * sizes["fp32"]
