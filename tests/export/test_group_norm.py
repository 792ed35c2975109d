"""Group normalisation over a million values for each group, as a VAE at 512x512 has it."""

import onnxruntime
import pytest
import torch
from torch import nn

from zodi.engines.group_norm import replace_group_norms
from zodi.export.group_norm import StagedGroupNorm
from zodi.telemetry import import_openvino


@pytest.fixture(scope="module")
def norm():
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 16)
    nn.init.normal_(norm.weight, 1.0, 0.3)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


@pytest.mark.parametrize("shape", [(2, 16, 5, 7), (1, 16, 64, 33), (3, 16, 11)])
def test_it_is_a_group_norm(norm, shape):
    x = torch.randn(shape) * 3 + 1
    assert torch.allclose(StagedGroupNorm(norm)(x), norm(x), atol=1e-5)


def test_all_inside_a_module_are_replaced():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ModuleDict({"a": nn.Sequential(nn.GroupNorm(2, 4))}))
    replace_group_norms(net, StagedGroupNorm)
    assert isinstance(net[1]["a"][0], StagedGroupNorm)
    assert not any(isinstance(child, nn.GroupNorm) for name, child in net.named_modules() if not name.endswith("norm"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_compute_it_as_pytorch_does(norm, tmp_path, runtime):
    x = torch.randn(1, 16, 512, 512, generator=torch.Generator().manual_seed(0)) + 0.5
    exact = norm.double()(x.double())
    norm.float()
    found = {}
    for name, module in (("plain", norm), ("staged", StagedGroupNorm(norm))):
        path = tmp_path / f"{name}.onnx"
        torch.onnx.export(module, (x,), path, dynamo=True, opset_version=20, verbose=False)
        found[name] = float((run(runtime, path, x).double() - exact).pow(2).mean().sqrt() / exact.std())
    pytorch = float((norm(x).double() - exact).pow(2).mean().sqrt() / exact.std())
    assert found["staged"] < 5 * pytorch
    assert found["staged"] < 0.2 * found["plain"], "then the detour is not needed any more"


def run(runtime: str, path, x):
    if runtime == "onnxruntime":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    compiled = import_openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(compiled([x.numpy()])[0])
