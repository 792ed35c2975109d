"""Asked for a provider, a device or a precision, the user gets it or an error."""

import subprocess
import sys

import pytest
import torch

from zodi.engines import open_engine
from zodi.engines.bundle import open_bundle
from zodi.engines.choice import choose_engine
from zodi.engines.openvino_model import compile_graph, cpu_precisions, executed_precisions
from zodi.engines.ort_session import check_providers, misplaced_nodes, open_session
from zodi.errors import EngineError, ModelError, SettingsError
from zodi.telemetry import import_openvino

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: ONNX Runtime's CUDA provider")


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return open_bundle(tiny_bundle)


@no_cuda
def test_onnxruntime_without_the_provider_is_an_error(bundle):
    with pytest.raises(EngineError, match=r"has no CUDAExecutionProvider.*zodi\[gpu\]"):
        open_session(bundle.path("control_hint"), "cuda")


def test_the_provider_is_checked_node_by_node(bundle):
    session = open_session(bundle.path("control_hint"))
    check_providers(session, "CPUExecutionProvider")
    assert not misplaced_nodes(session, "CPUExecutionProvider")
    assert misplaced_nodes(session, "CUDAExecutionProvider")["Conv"] == 8
    with pytest.raises(EngineError, match="asked for CUDAExecutionProvider, onnxruntime runs CPUExecutionProvider"):
        check_providers(session, "CUDAExecutionProvider")


@needs_cuda
@pytest.mark.parametrize("graph", ["vae_encoder", "denoiser"])
def test_onnxruntime_on_cuda(bundle, graph):
    from zodi.export.bundle import check_engine

    assert check_engine(bundle, "ort", precision="fp32", device="cuda")["device"] == "cuda"


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"x\.onnx: onnxruntime cannot load it"):
        open_session(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"x\.onnx: openvino cannot load it"):
        compile_graph(tmp_path / "x.onnx", "fp32", None)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("ort", {"precision": "fp16", "device": "cpu"}, "computes fp16 files in fp32"),
        ("ort", {"precision": "bf16", "device": "cpu"}, "--engine openvino for bf16"),
        ("openvino", {"precision": "fp16"}, "fp32 or bf16, not fp16"),
        ("openvino", {"device": "abacus"}, "allowed are auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_had_is_an_error(bundle, name, given, says):
    with pytest.raises(EngineError, match=says), open_engine(bundle, name, **given):
        pass


@pytest.mark.skipif("bf16" in cpu_precisions(), reason="OpenVINO executes bf16 on this CPU")
def test_openvino_on_a_cpu_without_bf16_refuses_it(bundle):
    """OpenVINO itself takes the hint and computes in fp32."""
    with (
        pytest.raises(EngineError, match="control_hint: OpenVINO does not execute bf16 on this CPU"),
        open_engine(bundle, "openvino", precision="bf16"),
    ):
        pass


@pytest.mark.skipif("bf16" not in cpu_precisions(), reason="OpenVINO does not execute bf16 on this CPU")
def test_openvino_executes_bf16(bundle):
    from zodi.export.bundle import check_engine

    assert check_engine(bundle, "openvino", precision="bf16")["precision"] == "bf16"


def test_signals_are_handled_after_openvino_has_closed_several_models(bundle):
    """OpenVINO exchanges the stack of signal handlers on CPUs with AMX."""
    code = """
import os, signal, sys
from pathlib import Path
from zodi.engines.bundle import open_bundle
from zodi.export.bundle import check_engine
signal.signal(signal.SIGINT, lambda number, frame: print("handled", flush=True))
check_engine(open_bundle(Path(sys.argv[1])), "openvino", precision="fp32")
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code, bundle.directory], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_fp32_is_executed_as_fp32(bundle):
    core = import_openvino().Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(bundle.path("denoiser")), "CPU", exact)
    executed = executed_precisions(compiled)
    assert set(executed) == {"fp32"} and executed.total() > 50


@pytest.mark.parametrize("name", ["ort", "openvino"])
@pytest.mark.parametrize(("batch", "says"), [(8, "batch is 8, the bundle is made for 1 to 4"), (1, None)])
def test_sizes_outside_the_profile_are_refused(bundle, name, batch, says):
    with open_engine(bundle, name, device="cpu", threads=1) as engine:
        inputs = {"image": torch.zeros((batch, 3, 32, 64))}
        if says is None:
            assert engine.run("vae_encoder", inputs)["mean"].shape == (1, 4, 4, 8)
        else:
            with pytest.raises(SettingsError, match=says):
                engine.run("vae_encoder", inputs)


def test_the_automatic_choice():
    assert choose_engine("cpu") == "ort"
    assert choose_engine("cpu", "bf16") == "openvino"
    assert choose_engine("cpu", without=["ort", "openvino"]) == "torch"
    with pytest.raises(
        EngineError, match=r"no engine that runs from files is installed for cpu: pip install 'zodi\[cpu\]'"
    ):
        choose_engine("cpu", without=["ort", "openvino", "torch"])
    with pytest.raises(EngineError, match="abacus"):
        choose_engine("abacus")
