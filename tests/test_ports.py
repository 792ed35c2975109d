import dataclasses

import numpy as np
import pytest
import torch

from zodi.model import ModelInfo
from zodi.ports import Dim, ModelDims, Port, check_inputs, check_outputs, graphs

SD15 = ModelDims(latent_channels=4, vae_factor=8, multiple=64, tokens=77, text_width=768, hint_channels=320)
DENOISER = graphs(SD15)["denoiser"]


def denoiser_inputs(batch=2, height=4, width=6):
    sizes = {"batch": batch, "height": height, "width": width}
    return {p.name: torch.zeros(p.shape(sizes), dtype=getattr(torch, p.dtype)) for p in DENOISER.inputs}


def test_the_five_graphs():
    assert list(graphs(SD15)) == ["text_encoder", "vae_encoder", "control_hint", "denoiser", "vae_decoder"]
    image = graphs(SD15)["vae_encoder"].inputs[0]
    assert image.shape({"batch": 2, "height": 64, "width": 128}) == (2, 3, 512, 1024)
    assert [str(d) for d in image.dims] == ["batch", "3", "8*height", "8*width"]


def test_sizes_are_read_off_the_inputs():
    assert check_inputs(DENOISER, denoiser_inputs()) == {"batch": 2, "height": 4, "width": 6}
    numpy = {name: tensor.numpy() for name, tensor in denoiser_inputs().items()}
    assert check_inputs(DENOISER, numpy) == {"batch": 2, "height": 4, "width": 6}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"text": torch.zeros(1, 77, 768)},
            r"text has shape \(1, 77, 768\), expected \(batch, 77, 768\) with batch = 2",
        ),
        ({"text": torch.zeros(2, 77, 768, dtype=torch.float16)}, "text is float16, expected float32"),
        ({"timestep": torch.zeros(2)}, "timestep is float32, expected int64"),
        ({"hint": torch.zeros(2, 320, 4, 7)}, "hint has shape"),
        ({"latents": torch.zeros(2, 4, 4)}, "latents has shape"),
        ({"extra": torch.zeros(1)}, r"was given the ports .*extra"),
        ({"control_scale": torch.zeros(1)}, r"control_scale has shape \(1,\), expected \(\)"),
    ],
)
def test_wrong_inputs_are_named(change, says):
    with pytest.raises(ValueError, match=says):
        check_inputs(DENOISER, denoiser_inputs() | change)


def test_image_sides_must_be_multiples():
    graph = graphs(SD15)["vae_encoder"]
    assert check_inputs(graph, {"image": np.zeros((1, 3, 16, 24), np.float32)}) == {"batch": 1, "height": 2, "width": 3}
    with pytest.raises(ValueError, match="image has shape"):
        check_inputs(graph, {"image": np.zeros((1, 3, 17, 24), np.float32)})


def test_outputs_follow_the_inputs():
    with pytest.raises(ValueError, match=r"noise has shape .* with batch = 2, height = 4, width = 6"):
        check_outputs(DENOISER, {"noise": torch.zeros(1, 4, 4, 6)}, {"batch": 2, "height": 4, "width": 6})


def test_port_shape_with_factors():
    assert Port("x", (Dim("batch", 2), 3)).shape({"batch": 4}) == (8, 3)


def test_model_info_survives_json():
    import json

    info = ModelInfo("a", "b", "c", SD15, 0.18215, 0.0, "epsilon", {"beta_start": 0.1}, 512, words=("driving",))
    assert ModelInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    plain = dataclasses.replace(info, words=None)
    assert ModelInfo.from_json(json.loads(json.dumps(plain.to_json()))) == plain
