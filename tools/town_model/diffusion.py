"""Train UNet, ControlNet and text encoder together on the latents of scenes, their control maps and captions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from town_model.autoencoder import encode_scenes
from town_model.data import domain_of, draw_scenes, open_scenes
from town_model.optimizer import start_as_identities
from town_model.settings import NEGATIVE, QUALITY, SCALING_FACTOR, WORDINGS, Settings
from town_model.training import Clock, State, half_precision, train
from zodi.labels import CITYSCAPES_19
from zodi.town.parts import build_parts, fill_zero_convolutions
from zodi.transfer.schedule import alphas_cumprod

MAX_TIMESTEP = 960  # the strongest preset starts at 900; the rest is nearly pure noise
SNR_LIMIT = 5.0  # min-SNR weights (Hang et al. 2023), for noise prediction
GOOD = 0.7  # share of captions that end in "best quality", as the prompts of the method do


def open_diffusion(out: Path, settings: Settings, device: torch.device) -> tuple[State, dict[str, Any]]:
    """UNet, ControlNet and text encoder as they were saved last, or new; and all parts of the pipeline."""
    parts = build_parts(
        vae_channels=settings.vae_channels,
        unet_channels=settings.unet_channels,
        hint_channels=settings.hint_channels,
        latent_channels=settings.latent_channels,
        text_width=settings.text_width,
        groups=settings.groups,
        heads=settings.heads,
        attention=attention_levels(len(settings.unet_channels)),
        vae_attention=False,
        words=settings.words,
        scaling_factor=SCALING_FACTOR,
        schedule=settings.schedule,
        seed=settings.seed,
    )
    fill_zero_convolutions(parts["controlnet"], seed=settings.seed + 1, scale=0.01)
    for name in ("unet", "controlnet"):
        start_as_identities(parts[name])
    modules: dict[str, nn.Module] = {name: parts[name] for name in ("unet", "controlnet", "text_encoder")}
    path = out / "diffusion" / "checkpoint.pt"
    state = State(modules, path, rate=settings.diffusion_rate, device=device, start=settings.start)
    return state, parts


def attention_levels(levels: int) -> list[bool]:
    """Attention in the middle levels: the finest would cost more than all else, the coarsest has the middle block's."""
    return [0 < level < levels - 1 for level in range(levels)] if levels > 2 else [True, False][:levels]


def train_diffusion(out: Path, settings: Settings, device: torch.device, clock: Clock, save_minutes: float) -> None:
    """Encode the scenes that are not encoded yet, then train up to `settings.diffusion_steps`."""
    latents = encode_scenes(out, settings, device, clock)
    if clock.over():
        return
    labels = open_scenes(out).labels
    state, parts = open_diffusion(out, settings, device)
    unet, controlnet = (module.train() for module in (parts["unet"], parts["controlnet"]))
    alphas = alphas_cumprod(settings.schedule).to(device)
    colours = control_table(device)

    def loss(rng: np.random.Generator, generator: torch.Generator) -> dict[str, Tensor]:
        batch = settings.diffusion_batch
        which = draw_scenes(rng, len(latents), batch, settings.emphasis)
        captions = [draw_caption(domain_of(int(i)), rng, settings.drop) for i in which]
        z0 = torch.from_numpy(np.stack([latents[i] for i in which])).to(device).float()
        layout = colours[torch.from_numpy(np.stack([labels[i] for i in which])).to(device).long()].permute(0, 3, 1, 2)
        # one step of each equal share of the schedule: less noisy than independent draws
        t = ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * MAX_TIMESTEP).long().to(device)
        noise = torch.randn(z0.shape, generator=generator).to(device)
        abar = alphas[t][:, None, None, None]
        x = (abar.sqrt() * z0 + (1 - abar).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        with half_precision(device):
            text = encode_captions(parts, captions, device)
            down, mid = controlnet(x, t, text, controlnet_cond=layout, return_dict=False)
            eps = unet(
                x, t, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
            )[0]
        error = (eps.float() - noise).square().mean(dim=(1, 2, 3))
        snr = (alphas / (1 - alphas))[t]
        return {"loss": (error * (SNR_LIMIT / snr).clamp(max=1.0)).mean(), "mse": error.mean()}

    train(
        state, loss, name="diffusion", steps=settings.diffusion_steps, settings=settings,
        rate=settings.diffusion_rate, clock=clock, save_minutes=save_minutes,
    )  # fmt: skip


def draw_caption(domain: str, rng: np.random.Generator, drop: float) -> str:
    """A wording of the domain, with or without "best quality"; or, for guidance, an empty or the negative caption."""
    wordings = WORDINGS[domain]
    caption = wordings[int(rng.integers(len(wordings)))]
    good, dropped = rng.random(2)
    if dropped < drop:
        return NEGATIVE if dropped < 0.7 * drop else ""
    return f"{caption}, {QUALITY}" if good < GOOD else caption


def encode_captions(parts: dict[str, Any], captions: list[str], device: torch.device) -> Tensor:
    """Hidden states (B, 77, D); a caption that occurs twice is encoded once."""
    unique = sorted(set(captions))
    ids = parts["tokenizer"](unique, padding="max_length", return_tensors="pt").input_ids.to(device)
    states: Tensor = parts["text_encoder"](ids)[0]
    return states[[unique.index(caption) for caption in captions]]


def control_table(device: torch.device) -> Tensor:
    """Colours of train ids in control maps, (256, 3) in 0..1."""
    table: NDArray[np.uint8] = CITYSCAPES_19.control_colours()[CITYSCAPES_19.train_id_to_id]
    return torch.from_numpy(table).to(device).float() / 255.0
