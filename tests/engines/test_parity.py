"""Every engine computes what torch does: per graph, per step with the reference's latents, and end to end."""

from functools import partial

import numpy as np
import pytest
import torch

from zodi.engines import ENGINES, installed_engines, open_engine
from zodi.engines.bundle import load_tokenizer, open_bundle
from zodi.engines.components import load_components
from zodi.export.precision import spread_error
from zodi.ports import graphs
from zodi.transfer.images import decoded_image
from zodi.transfer.pipeline import Sampling, encode_images, encode_text, tokenize, transfer_encoded

GRAPHS = ("text_encoder", "vae_encoder", "control_hint", "denoiser", "vae_decoder")
FROM_BUNDLES = ("ort", "openvino")
TOLERANCE = 10.0  # times the floor that the bundle's making measured
SIZES = [(1, 4, 8), (2, 8, 4), (4, 6, 10)]  # batch, height and width of the latents


@pytest.fixture(scope="module")
def torch_engine(tiny_model):
    with open_engine(load_components(str(tiny_model)), "torch", device="cpu") as engine:
        yield engine


@pytest.fixture(scope="module", params=FROM_BUNDLES)
def engine(request, bundle):
    with open_engine(bundle, request.param, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return open_bundle(tiny_bundle)


def floor(bundle, graph: str) -> float:
    return max(row["floor"] for row in bundle.graphs[graph]["parity"])


def inputs_of(bundle, graph, batch, height, width, seed=3):
    from zodi.export.parity import sample_inputs

    sizes = {"batch": batch, "height": height, "width": width}
    return sample_inputs(graphs(bundle.info.dims)[graph], bundle.info, sizes, vocabulary=50, seed=seed)


def test_the_engines_that_must_not_be_skipped_are_here():
    assert set(installed_engines()) >= {"torch", *FROM_BUNDLES}
    assert set(ENGINES) >= {"torch", *FROM_BUNDLES}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_graph_is_torch_s_to_rounding(torch_engine, engine, bundle, graph, sizes):
    if graph == "text_encoder":
        sizes = (min(sizes[0], 2), *sizes[1:])
    inputs = inputs_of(bundle, graph, *sizes)
    for port, expected in torch_engine.run(graph, inputs).items():
        error = spread_error(engine.run(graph, inputs)[port], expected)
        assert 0 < error <= TOLERANCE * floor(bundle, graph)


def test_an_image_does_not_depend_on_its_neighbours(engine, bundle):
    inputs, others = (inputs_of(bundle, "denoiser", 4, 4, 8, seed=seed) for seed in (1, 3))
    mixed = {name: t if t.ndim == 0 else torch.cat([t[:1], others[name][1:]]) for name, t in inputs.items()}
    assert torch.equal(engine.run("denoiser", inputs)["noise"][0], engine.run("denoiser", mixed)["noise"][0])


def swap_halves(t):
    return torch.cat([t[len(t) // 2 :], t[: len(t) // 2]])


MISTAKES = {
    "next time step": lambda inputs: {"timestep": inputs["timestep"] + 1},
    "hint dropped": lambda inputs: {"hint": torch.zeros_like(inputs["hint"])},
    "cond and uncond swapped": lambda inputs: {"text": swap_halves(inputs["text"])},
    "control scale forgotten": lambda inputs: {"control_scale": torch.tensor(0.5)},
    "latents not scaled": lambda inputs: {"latents": inputs["latents"] * 0.18215},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_known_mistakes_of_the_denoiser_fail_by_far(torch_engine, engine, bundle, mistake):
    inputs = inputs_of(bundle, "denoiser", 2, 4, 8)
    inputs["timestep"] = torch.tensor([601, 601])
    expected = torch_engine.run("denoiser", inputs)["noise"]
    wrong = engine.run("denoiser", inputs | MISTAKES[mistake](inputs))["noise"]
    assert spread_error(wrong, expected) > 100 * TOLERANCE * floor(bundle, "denoiser")


def test_bgr_fails_by_far(torch_engine, engine, bundle):
    inputs = inputs_of(bundle, "control_hint", 2, 4, 8)
    expected = torch_engine.run("control_hint", inputs)["hint"]
    wrong = engine.run("control_hint", {"layout": inputs["layout"].flip(1)})["hint"]
    assert spread_error(wrong, expected) > 100 * TOLERANCE * floor(bundle, "control_hint")


@pytest.fixture(scope="module")
def transferred(torch_engine, bundle):
    """Images by torch, and what each denoiser call was given and gave."""
    calls = []

    def run(graph, inputs):
        outputs = torch_engine.run(graph, inputs)
        if graph == "denoiser":
            calls.append((dict(inputs), outputs["noise"]))
        return outputs

    return transfer(run, bundle), calls


def transfer(run, bundle) -> np.ndarray:
    """Two noise images through the method; (2, 32, 64, 3) uint8."""
    info, tokenizer = bundle.info, load_tokenizer(bundle)
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand((2, 3, 4, 8), generator=generator) * 2 - 1, scale_factor=8)
    layout = torch.nn.functional.interpolate(torch.rand((2, 3, 4, 8), generator=generator), scale_factor=8)
    texts = [encode_text(run, tokenize(tokenizer, info, prompt)) for prompt in ("driving at night", "worst quality")]
    encoded = encode_images(run, image, layout)
    planes = transfer_encoded(run, info, encoded, *texts, [1, 2], Sampling(strength=0.9, guidance=9.0))
    return np.stack([decoded_image(each) for each in planes.numpy()])


def test_every_step_with_the_reference_s_latents(transferred, engine, bundle):
    _, calls = transferred
    assert len(calls) == 19  # one for the inversion, 18 steps
    run = partial(engine.run, "denoiser")
    errors = [spread_error(run(inputs)["noise"], expected) for inputs, expected in calls]
    assert max(errors) <= TOLERANCE * floor(bundle, "denoiser")


def test_end_to_end_with_the_same_noise(transferred, engine, bundle):
    expected, _ = transferred
    images = transfer(engine.run, bundle)
    assert expected.std() > 10
    error = np.square(images.astype(float) - expected.astype(float)).mean()
    assert 10 * np.log10(255**2 / max(error, 1e-12)) >= 45
