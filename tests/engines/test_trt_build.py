"""TensorRT plans, built for real: `tensorrt_rtx` builds on a machine without a GPU. What runs them needs one."""

import ast
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from zodi.engines import open_engine
from zodi.engines.bundle import open_bundle, read_bundle
from zodi.engines.trt_build import (
    PlanChoice,
    add_profile,
    build_plan,
    cache_name,
    load_timing_cache,
    save_timing_cache,
)
from zodi.engines.trt_plans import ORDER, build_plans, check_capability, check_plans, check_room, find_target, no_gpu
from zodi.engines.trt_product import capabilities, find_product, open_log
from zodi.errors import EngineError, ModelError, OutputError, SettingsError
from zodi.ports import Graph, Port, graphs

AHEAD = PlanChoice(("8.6", "8.9"))
CPU = torch.device("cpu")
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: TensorRT's runtime")


@pytest.fixture(scope="module")
def rtx():
    return find_product(("tensorrt_rtx",))


@pytest.fixture(scope="module")
def planned(tiny_bundle, tmp_path_factory) -> Path:
    """The tiny model's dynamic fp32 bundle with its plans."""
    directory = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("plans") / "bundle"))
    told: list[tuple[int, int, str]] = []
    build_plans(open_bundle(directory), AHEAD, device="cpu", on_progress=lambda *step: told.append(step))
    shares = [done for done, _, _ in told]
    assert shares == sorted(shares) and shares[-1] == 500 and len(set(shares)) > 15
    assert {note.partition(":")[0] for _, _, note in told} == {*ORDER, ""}
    return directory


@pytest.fixture
def copy(planned, tmp_path) -> Path:
    return Path(shutil.copytree(planned, tmp_path / "bundle"))


def build(rtx, bundle, name, graph=None, precision="fp32", choice=AHEAD, **more):
    table = graphs(bundle.info.dims)
    return build_plan(rtx, bundle.path(name), table[graph or name], bundle.profile(name), precision, choice, **more)


def test_all_five_graphs_become_plans_with_their_identity(planned):
    bundle = open_bundle(planned)
    assert set(bundle.plans) == set(ORDER) == set(graphs(bundle.info.dims))
    for name, plan in bundle.plans.items():
        assert bundle.plan_path(name).stat().st_size > 100_000
        assert f"{name}.plan" in bundle.files
        assert plan["product"] == "tensorrt_rtx" and plan["compute_capability"] == ["8.6", "8.9"]
        assert plan["precision"] == "fp32" and plan["onnx"] == bundle.files[f"{name}.onnx"] and "-" in plan["os"]
    assert bundle.plans["denoiser"]["profile"]["batch"] == [1, 4, 8]
    assert check_plans(bundle).__name__ == "tensorrt_rtx"


def test_what_is_current_is_left_alone_and_what_is_altered_is_built_again(copy):
    (copy / "control_hint.plan").write_bytes(b"altered")
    said: list[str] = []
    build_plans(open_bundle(copy), AHEAD, device="cpu", notify=said.append)
    assert sum("is current" in line for line in said) == 4
    assert said[0].startswith("control_hint plan written")
    check_plans(open_bundle(copy))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_parsed_network_must_compute_in_the_precision(rtx, planned, precision):
    """A plan in another precision than its file would be one that was only asked for it."""
    bundle = open_bundle(planned)
    if precision == "fp32":
        assert build(rtx, bundle, "control_hint").nbytes > 100_000
    else:
        with pytest.raises(ModelError, match=f"8 of 8 convolutions and matrix products are not {precision}"):
            build(rtx, bundle, "control_hint", precision=precision)


def test_a_file_of_another_graph_or_profile_is_refused(rtx, planned):
    bundle = open_bundle(planned)
    with pytest.raises(ModelError, match=r"reads the inputs \['layout.*expected \['image"):
        build(rtx, bundle, "control_hint", graph="vae_encoder")
    profile = bundle.profile("control_hint") | {"height": (4, 4, 4)}
    graph = graphs(bundle.info.dims)["control_hint"]
    with pytest.raises(ModelError, match=r"control_hint.onnx: TensorRT reads the inputs .*-1, 3, 32, -1"):
        build_plan(rtx, bundle.path("control_hint"), graph, profile, "fp32", AHEAD)


def test_a_profile_that_cannot_be_is_refused_by_tensorrt(rtx, planned):
    bundle, log = open_bundle(planned), open_log(rtx)
    builder = rtx.Builder(log)
    graph = graphs(bundle.info.dims)["control_hint"]
    falling = {"batch": (4, 2, 1), "height": (4, 4, 4), "width": (4, 4, 4)}
    with pytest.raises(EngineError, match=r"cannot take the sizes .*please ensure"):
        add_profile(builder, builder.create_builder_config(), graph, falling, bundle.path("control_hint"), log)


def write_onnx(path: Path, operator: str) -> Graph:
    """x (2, 3, 3) -> y by one operator."""
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], name="the_node")], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return Graph("g", (Port("x", (2, 3, 3)),), (Port("y", (2, 3, 3)),))


def test_an_unsupported_node_is_named(rtx, tmp_path):
    path = tmp_path / "g.onnx"
    graph = write_onnx(path, "Det")
    with pytest.raises(ModelError, match=r"g\.onnx: TensorRT cannot run 1 of its nodes: Det \(the_node\)"):
        build_plan(rtx, path, graph, {}, "fp32", AHEAD)
    graph = write_onnx(path, "Relu")
    with pytest.raises(ModelError, match="0 of 0 convolutions"):
        build_plan(rtx, path, graph, {}, "fp32", AHEAD)
    path.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="TensorRT cannot read it: Failed to parse the ONNX model"):
        build_plan(rtx, path, graph, {}, "fp32", AHEAD)


def test_too_little_memory_or_disk_is_said_before_anything_is_built(rtx, planned, copy):
    bundle = open_bundle(planned)
    with pytest.raises(EngineError, match=r"cannot build it: .*workspace memory greater than 0"):
        build(rtx, bundle, "control_hint", choice=PlanChoice(("8.6",), workspace_mib=0))
    with pytest.raises(OutputError, match=r"has 0\.0 GiB free, a plan needs 1\.0"):
        check_room(Path("/proc"), 0, CPU)
    huge, broken = open_bundle(copy), copy / "control_hint.onnx.data"
    (copy / "control_hint.plan").unlink()
    with broken.open("r+b") as file:
        file.truncate(2**43)  # takes no space
    with pytest.raises(EngineError, match=r"needs about \d+\.0 GiB of memory, .* are free"):
        build_plans(huge, AHEAD, device="cpu")


def test_an_interrupted_build_leaves_what_was_whole(rtx, copy):
    (copy / "control_hint.plan").unlink()
    with pytest.raises(KeyboardInterrupt):
        build(rtx, open_bundle(copy), "control_hint", report=lambda share, what: interrupt_in("Optimizing", what))
    assert sorted(path.name for path in copy.glob("*.plan*")) == sorted(f"{n}.plan" for n in ORDER[1:])


@pytest.mark.parametrize("callback", ["phase_start", "step_complete", "phase_finish"])
def test_ctrl_c_ends_a_build_wherever_it_comes(rtx, copy, monkeypatch, callback):
    """The signal is handled in whichever callback comes next."""
    from zodi.engines import trt_build

    opened, calls = trt_build.open_monitor, []

    def watched(product, report):
        monitor = opened(product, report)
        plain = getattr(type(monitor), callback)

        def interrupted(self, *arguments):
            if not calls:
                os.kill(os.getpid(), signal.SIGINT)
            calls.append(arguments)
            return plain(self, *arguments)

        monkeypatch.setattr(type(monitor), callback, interrupted)
        return monitor

    monkeypatch.setattr(trt_build, "open_monitor", watched)
    (copy / "control_hint.plan").unlink()
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    with pytest.raises(KeyboardInterrupt):
        build(rtx, open_bundle(copy), "control_hint")
    assert calls and not (copy / "control_hint.plan").exists()
    assert signal.getsignal(signal.SIGINT) is before


def interrupt_in(phase: str, what: str) -> None:
    if phase in what:
        raise KeyboardInterrupt


def test_a_missing_product_or_library_says_what_to_install(monkeypatch, tmp_path):
    with pytest.raises(EngineError, match=r"tensorrt cannot be imported .*pip install 'zodi\[gpu\]', see docs/gpu.md"):
        find_product(("tensorrt",))
    # what is installed where NVIDIA's index could not be reached: the bindings without the libraries
    (tmp_path / "tensorrt.py").write_text("from tensorrt_bindings import *\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match=r"tensorrt cannot be imported \(libnv\w+\.so.*cannot open shared object"):
        find_product(("tensorrt",))
    (tmp_path / "tensorrt.py").write_text("__version__ = '8.6.1'\n")
    with pytest.raises(EngineError, match=r"tensorrt is 8\.6\.1, needed is 10\.16 or newer"):
        find_product(("tensorrt",))
    assert find_product().__name__ == "tensorrt_rtx"


def test_the_gpu_must_be_named_where_there_is_none(rtx):
    assert set(capabilities(rtx)) >= {"7.5", "8.6", "8.9"}
    with pytest.raises(SettingsError, match=r"compute capability is '9\.0', tensorrt_rtx .* builds for 7\.5.*tensorrt"):
        find_target(PlanChoice(("9.0",)), "cpu")
    with pytest.raises(EngineError, match="no GPU here to build for: name one with --compute-capability"):
        find_target(PlanChoice(), "cpu")
    with pytest.raises(SettingsError, match="optimization level is 6"):
        build_plan(rtx, Path(), Graph("g", (), ()), {}, "fp32", PlanChoice(("8.6",), optimization_level=6))
    assert "builds on the GPU that will run the plans" in no_gpu(torch)


@pytest.mark.parametrize("name", ["denoiser", "control_hint"])
def test_a_plan_that_is_altered_or_missing_is_refused(copy, name):
    path = copy / f"{name}.plan"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    bundle = open_bundle(copy)  # the other engines do not mind
    for problem in ("is not the file that was written", "is missing"):
        with pytest.raises(ModelError, match=f"{name}.plan {problem}.*--from-onnx .*--compute-capability 8.6"):
            check_plans(bundle)
        path.unlink(missing_ok=True)


FOREIGN = {
    "version": ("9.9", "its version is '9.9', here it is"),
    "os": ("windows-amd64", "its os is 'windows-amd64'"),
    "profile": ({"batch": [1, 1, 1]}, "its profile is"),
    "precision": ("fp16", "its precision is 'fp16', here it is 'fp32'"),
    "onnx": ("0" * 64, "its onnx is '0000"),
    "weights": ("0" * 64, "its weights is '0000"),
}


@pytest.mark.parametrize("field", FOREIGN)
def test_a_foreign_plan_is_refused_by_the_field(copy, field):
    value, says = FOREIGN[field]
    bundle = read_bundle(copy)
    bundle.plans["vae_encoder"][field] = value
    with pytest.raises(ModelError, match=rf"vae_encoder\.plan: {says}.*zodi export-engines --from-onnx"):
        check_plans(bundle)


def test_a_product_s_name_from_a_file_is_not_imported(copy):
    bundle = read_bundle(copy)
    bundle.plans["control_hint"]["product"] = "antigravity"
    with pytest.raises(ModelError, match="its plans are for 'antigravity'"):
        check_plans(bundle)


def test_plans_for_another_gpu_are_refused(copy):
    bundle = read_bundle(copy)
    check_capability(bundle, "8.6", "NVIDIA RTX A4000")
    with pytest.raises(ModelError, match=r"is built for compute capability 8\.6, 8\.9, here is NVIDIA H100 \(9\.0\)"):
        check_capability(bundle, "9.0", "NVIDIA H100")
    bundle.plans["denoiser"]["gpu"] = "NVIDIA L4"  # tuned on it
    with pytest.raises(ModelError, match=r"denoiser\.plan: is built for NVIDIA L4, here is NVIDIA L40 \(8\.9\)"):
        check_capability(bundle, "8.9", "NVIDIA L40")


@no_cuda
def test_running_needs_a_gpu_and_plans(planned, tiny_bundle):
    with pytest.raises(EngineError, match="runs on an NVIDIA GPU"), open_engine(open_bundle(planned), "trt"):
        pass
    with (
        pytest.raises(EngineError, match=r"has no TensorRT plan of control_hint.*--engine trt$"),
        open_engine(open_bundle(tiny_bundle), "trt"),
    ):
        pass
    with (
        pytest.raises(EngineError, match="the files are fp32, asked for is fp16"),
        open_engine(open_bundle(planned), "trt", precision="fp16"),
    ):
        pass


@needs_cuda
def test_tensorrt_computes_what_torch_does(tiny_bundle, tmp_path):
    from zodi.export.bundle import check_engine

    bundle = open_bundle(Path(shutil.copytree(tiny_bundle, tmp_path / "bundle")))
    assert build_plans(bundle, PlanChoice())
    assert check_engine(bundle, "trt", precision="fp32")["device"] == "cuda"


def test_kernel_timings_are_kept(rtx, tmp_path):
    """tensorrt_rtx takes the calls, which do nothing for it, and says so."""
    path = tmp_path / cache_name(rtx, "NVIDIA RTX A4000/x")
    assert path.parent == tmp_path and "A4000-x" in path.name
    config = rtx.Builder(open_log(rtx)).create_builder_config()
    with pytest.warns(DeprecationWarning):
        load_timing_cache(config, path)
        save_timing_cache(config, path)
        load_timing_cache(config, path)
    assert path.stat().st_size > 0


def test_the_file_that_cannot_be_run_here_is_small_and_without_branches():
    import zodi.engines.trt

    path = Path(zodi.engines.trt.__file__).with_name("trt_runtime.py")
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    branches = (ast.If, ast.IfExp, ast.While, ast.Try, ast.Match, ast.BoolOp)
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, branches)]
