"""TensorRT plans as a user makes them, and their sizes in each precision."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from zodi.engines.bundle import open_bundle
from zodi.engines.components import Components, load_components
from zodi.engines.graphs import build_graphs
from zodi.engines.profile import graph_profile, make_sizes
from zodi.engines.trt_build import PlanChoice, build_plan
from zodi.engines.trt_product import find_product
from zodi.export.bundle import trace_sizes
from zodi.export.onnx_file import write_graph
from zodi.export.parity import sample_inputs
from zodi.ports import graphs
from zodi.town.parts import build_parts, save_model

AHEAD = PlanChoice(("8.9",))
SMALLER = 0.65  # a plan in fp16 of one in fp32


def write_file(components: Components, name: str, path: Path, precision: str, *, static: bool) -> int:
    """Export one graph without its parity check, build its plan, and return the plan's size in bytes."""
    info = components.info
    graph = graphs(info.dims)[name]
    size = (info.image_size, 2 * info.image_size)
    profile = graph_profile(graph, make_sizes(size, (1, 2, 4), static=static, dims=info.dims), info.dims)
    step = info.dims.multiple // info.dims.vae_factor
    vocabulary = components.text_encoder.config.vocab_size
    inputs = sample_inputs(graph, info, trace_sizes(graph, profile, step), vocabulary=vocabulary, seed=0)
    module = build_graphs(components)[name]
    write_graph(module, graph, list(inputs.values()), path, profile=profile, precision=precision)
    return build_plan(find_product(("tensorrt_rtx",)), path, graph, profile, precision, AHEAD).nbytes


@pytest.mark.parametrize(("precision", "static"), [("fp32", True), ("fp16", False), ("fp16", True), ("bf16", True)])
def test_a_plan_in_each_precision_for_fixed_and_for_open_sizes(tiny_model, tmp_path, precision, static):
    assert write_file(load_components(str(tiny_model)), "control_hint", tmp_path / "g.onnx", precision, static=static)


def test_half_precision_halves_the_plan(tmp_path):
    """The text encoder of a model whose weights outweigh the kernels, which are about 2 MiB."""
    directory = tmp_path / "model"
    save_model(build_parts(text_width=384, heads=4, seed=1), directory, {"image_size": 32})
    sizes = {
        precision: write_file(
            load_components(str(directory)), "text_encoder", tmp_path / f"{precision}.onnx", precision, static=True
        )
        for precision in ("fp32", "fp16")
    }
    assert 2**20 < sizes["fp16"] < SMALLER * sizes["fp32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_from_files_alone_to_plans_that_are_shown_and_verified(cli, tiny_bundle, tmp_path):
    place = tmp_path / "bundle"
    made = ("export-engines", "--from-onnx", tiny_bundle, "--bundle", place, "--engine", "trt")
    refused = cli(*made)
    assert refused.status == 1 and not place.exists()
    assert refused.stderr.count("\n") == 1 and "no GPU here to build for" in refused.stderr
    refused = cli(*made[:-1], "ort", "--compute-capability", "8.6")
    assert refused.status == 1 and "are for --engine trt" in refused.stderr
    done = cli(
        *made, "--compute-capability", "8.6", "--workspace-mib", "512", "--optimization-level", "0", "--json", "-"
    )
    assert done.status == 0, done.stderr
    assert (
        done.stderr.count("plan written") == 5
        and "built but not run" in done.stderr
        and "plans: 500/500" in done.stderr
    )
    plan = json.loads(done.stdout)["plans"]["denoiser"]
    assert (plan["workspace_mib"], plan["optimization_level"], plan["ahead_of_time"]) == (512, 0, True)
    shown = cli("engines", "inspect", place)
    assert "plan of denoiser: fp32, tensorrt_rtx" in shown.stdout and "for compute capability 8.6" in shown.stdout
    run = cli("transfer", "--bundle", place, "--engine", "trt", "--root", tmp_path, "-o", tmp_path / "out")
    assert run.status == 1
    verified = cli("engines", "verify", place, "--engine", "trt")
    assert verified.status == 1 and "runs on an NVIDIA GPU" in verified.stderr
    (place / "denoiser.plan").write_bytes(b"")
    verified = cli("engines", "verify", place)
    assert verified.status == 1 and "denoiser.plan is not the file that was written" in verified.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_every_graph_of_the_bundled_model_in_both_precisions(tmp_path, static):
    """The kernels of a plan are about as large as this model's weights, so the denoiser alone tells the precisions."""
    from zodi.opening import ModelChoice, load_model

    for name in graphs(load_model(ModelChoice()).info.dims):
        halves = ("fp32",) if name == "vae_decoder" else ("fp32", "fp16")
        sizes = [
            write_file(load_model(ModelChoice()), name, tmp_path / f"{name}-{precision}.onnx", precision, static=static)
            for precision in halves
        ]
        assert min(sizes) > 100_000 and sizes[-1] <= sizes[0]


def test_a_copy_has_no_plans(tiny_bundle, tmp_path):
    """They belong to a place, a GPU and who built them."""
    from zodi.export.bundle import copy_bundle

    source = open_bundle(Path(shutil.copytree(tiny_bundle, tmp_path / "source")))
    (source.directory / "denoiser.plan").write_bytes(b"plan")
    source.files["denoiser.plan"] = "0" * 64
    copied = copy_bundle(source, tmp_path / "copy")
    assert "denoiser.plan" not in open_bundle(copied.directory).files
    assert not (tmp_path / "copy/denoiser.plan").exists()
