"""PyTorch is what every engine is compared with, so it has to be right at every batch and in either memory format."""

import copy

import pytest
import torch
from torch import nn

from zodi.engines import open_engine
from zodi.engines.components import load_components
from zodi.engines.graphs import build_graphs
from zodi.engines.group_norm import exact_group_norm
from zodi.export.parity import sample_inputs
from zodi.export.precision import spread_error
from zodi.ports import graphs

FLOOR = 2e-6  # of the tests' autoencoder in float32 against float64, at the largest size here


@pytest.fixture(scope="module")
def norm():
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 16)
    nn.init.normal_(norm.weight, 1.0, 0.3)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


@pytest.mark.parametrize("shape", [(2, 16, 5, 7), (3, 16, 1, 1), (1, 16, 64, 33), (3, 16, 11)])
def test_it_is_a_group_norm(norm, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1
    if len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    expected = copy.deepcopy(norm).double()(x.double())
    assert spread_error(exact_group_norm(norm)(x), expected) < 3e-7


def test_without_weights_of_its_own(norm):
    plain = nn.GroupNorm(4, 16, affine=False)
    x = torch.randn(2, 16, 5, 7).to(memory_format=torch.channels_last)
    assert torch.allclose(exact_group_norm(plain)(x), plain(x), atol=1e-5)


def test_one_colour_everywhere(norm):
    x = torch.full((2, 16, 64, 64), 7.0).to(memory_format=torch.channels_last)
    # divided by the root of epsilon, 7 becomes 2,214, a float32 of which is right to 2.4e-4
    assert torch.allclose(exact_group_norm(norm)(x), norm.bias[:, None, None].expand_as(x), atol=5e-4)


def test_half_a_million_values_in_a_group(norm):
    x = (torch.randn(2, 16, 256, 512) + 0.5).to(memory_format=torch.channels_last)
    expected = copy.deepcopy(norm).double()(x.double())
    assert spread_error(exact_group_norm(norm)(x), expected) < 3e-7
    assert spread_error(norm(x), expected) > 1e-6, "then the detour is not needed any more"
    assert exact_group_norm(norm)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("graph", ["vae_encoder", "vae_decoder"])
@pytest.mark.parametrize("pixels", [(192, 320), (256, 512)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_autoencoder_is_float64_s_to_rounding(tiny_model, graph, pixels, batch):
    """The modules that references come from, and the engine, whose images are channels-last."""
    components = load_components(str(tiny_model))
    info, table = components.info, graphs(components.info.dims)[graph]
    height, width = (side // info.dims.vae_factor for side in pixels)
    inputs = sample_inputs(table, info, {"batch": batch, "height": height, "width": width}, vocabulary=50, seed=0)
    module = build_graphs(components)[graph]
    with torch.inference_mode():
        exact = copy.deepcopy(module).double()(*(tensor.double() for tensor in inputs.values()))
        computed = module(*inputs.values())
    assert max(map(spread_error, computed, exact)) < FLOOR
    with open_engine(load_components(str(tiny_model)), "torch", device="cpu") as engine:
        results = engine.run(graph, inputs)
    assert max(map(spread_error, results.values(), exact)) < FLOOR
