"""One guided step through engine, pipeline and sampler against diffusers' own modules and plain guidance arithmetic."""

import dataclasses

import pytest
import torch

from zodi.engines import open_engine
from zodi.engines.components import load_components
from zodi.transfer.pipeline import encode_images, encode_text, noise_predictor, tokenize
from zodi.transfer.sampler import add_noise, guided_noise
from zodi.transfer.schedule import alphas_cumprod

T, GUIDANCE = 601, 9.0
PROMPT, NEGATIVE = "driving at night", "lower quality, worst quality"


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(5)
    image = torch.rand((2, 3, 32, 64), generator=generator) * 2 - 1
    layout = torch.rand((2, 3, 32, 64), generator=generator)
    noise = torch.randn((3, 2, 4, 4, 8), generator=generator)
    return image, layout, noise


@pytest.fixture(scope="module")
def reference(tiny_model, inputs):
    """Epsilon as diffusers computes it, with nothing of ours in between."""
    from diffusers import StableDiffusionControlNetPipeline

    pipe = StableDiffusionControlNetPipeline.from_pretrained(tiny_model, safety_checker=None, feature_extractor=None)
    image, layout, noise = inputs
    with torch.no_grad():
        moments = pipe.vae.encode(image).latent_dist
        z0 = (moments.mean + moments.std * noise[0]) * pipe.vae.config.scaling_factor
        x = pipe.scheduler.add_noise(z0, noise[1], torch.tensor([T, T]))

        def eps(prompt):
            ids = pipe.tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids
            text = pipe.text_encoder(ids)[0].expand(2, -1, -1)
            down, mid = pipe.controlnet(x, T, text, controlnet_cond=layout, return_dict=False)
            return pipe.unet(x, T, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample

        cond, uncond = eps(PROMPT), eps(NEGATIVE)
    return {GUIDANCE: uncond + GUIDANCE * (cond - uncond), 1.0: cond}


def our_epsilon(
    tiny_model,
    inputs,
    *,
    t=T,
    layout_of=lambda layout: layout,
    swap=False,
    scaled=True,
    prompt=PROMPT,
    guidance=GUIDANCE,
) -> torch.Tensor:
    components = load_components(str(tiny_model))
    info = components.info if scaled else dataclasses.replace(components.info, scaling_factor=1.0)
    image, layout, noise = inputs
    alphas = alphas_cumprod(info.scheduler)
    with open_engine(components, "torch", device="cpu") as engine:
        encoded = encode_images(engine.run, image, layout_of(layout))
        texts = [encode_text(engine.run, tokenize(components.tokenizer, info, p)) for p in (prompt, NEGATIVE)]
        cond, uncond = reversed(texts) if swap else texts
        z0 = (encoded.mean + torch.exp(0.5 * encoded.logvar) * noise[0]) * info.scaling_factor
        x = add_noise(z0, noise[1], float(alphas[T]))
        predict = noise_predictor(engine.run, info, encoded.hint, cond, uncond, 1.0, alphas)
        return guided_noise(predict, x, t, guidance)


def error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Root mean square of the difference in units of the reference's spread."""
    return float((ours - reference).square().mean().sqrt() / reference.std())


def test_equals_diffusers(tiny_model, inputs, reference):
    assert error(our_epsilon(tiny_model, inputs), reference[GUIDANCE]) <= 1e-5


def test_one_branch_equals_diffusers_everywhere(tiny_model, inputs, reference):
    """Without guidance, which multiplies rounding by 9, also the largest difference is within the bound."""
    ours = our_epsilon(tiny_model, inputs, guidance=1.0)
    assert float((ours - reference[1.0]).abs().max() / reference[1.0].std()) <= 1e-5


MISTAKES = {
    "next time step": {"t": T + 1},
    "layout dropped": {"layout_of": torch.zeros_like},
    "BGR": {"layout_of": lambda layout: layout.flip(1)},
    "cond and uncond swapped": {"swap": True},
    "scaling factor forgotten": {"scaled": False},
    "another prompt": {"prompt": "driving at day"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_known_mistakes_show(tiny_model, inputs, reference, mistake):
    assert error(our_epsilon(tiny_model, inputs, **MISTAKES[mistake]), reference[GUIDANCE]) > 0.1
