"""The method on one batch: encode, invert, regenerate, decode; an engine is a callable here."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zodi.errors import SettingsError
from zodi.model import ModelInfo
from zodi.transfer.sampler import Branch, Predict, transfer_latents
from zodi.transfer.schedule import Timesteps, alphas_cumprod, make_plan

Run = Callable[[str, Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Sampling:
    """How latents are regenerated; see `zodi.transfer.sampler.transfer_latents`."""

    strength: float
    guidance: float
    steps: int = 20
    eta: float = 1.0
    timesteps: Timesteps = "reference"
    control_scale: float = 1.0

    def check(self, info: ModelInfo) -> None:
        """Raise SettingsError for values that the method or the model cannot take."""
        make_plan(alphas_cumprod(info.scheduler), strength=self.strength, steps=self.steps, timesteps=self.timesteps)
        if not 0.0 <= self.eta <= 1.0:
            raise SettingsError(f"eta is {self.eta:g}, allowed is 0 (deterministic) to 1 (the original's)")
        for name, value in (("guidance", self.guidance), ("control scale", self.control_scale)):
            if not 0.0 <= value <= 100.0:
                raise SettingsError(f"{name} is {value:g}, allowed is 0 to 100")


@dataclass(frozen=True)
class Encoded:
    """What does not depend on the domain: VAE moments (B, 4, h, w) and the control hint (B, C, h, w)."""

    mean: Tensor
    logvar: Tensor
    hint: Tensor


def image_seed(run_seed: int, domain: str, key: str, attempt: int = 0) -> int:
    """The seed of one image, 0..2^64-1: it depends on nothing but these four."""
    digest = hashlib.sha256(f"{run_seed}|{domain}|{key}|{attempt}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def draw_noise(seeds: Sequence[int], shape: tuple[int, int, int], steps: int) -> Tensor:
    """Noise of a batch, (2 + steps, B, *shape) float32 on the CPU: posterior, inversion, then one for each step."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    draws = [torch.stack([torch.randn(shape, generator=g) for g in generators]) for _ in range(2 + steps)]
    return torch.stack(draws)


def tokenize(tokenizer: Any, info: ModelInfo, text: str) -> Tensor:
    """Token ids (1, 77) of a prompt.

    Raises SettingsError where the prompt is too long, or holds words that the model does not know.
    """
    if info.words is not None:
        known = set(info.words)
        unknown = next((word for word in text.lower().replace(",", " ").split() if word not in known), None)
        if unknown is not None:
            raise SettingsError(
                f"{info.name}: the model does not know the word {unknown!r}, known are {', '.join(info.words)}"
            )
    length = len(tokenizer(text).input_ids)
    if length > info.dims.tokens:
        raise SettingsError(f"prompt has {length} tokens, the model takes {info.dims.tokens}: shorten {text[:60]!r}...")
    ids: Tensor = tokenizer(text, padding="max_length", max_length=info.dims.tokens, return_tensors="pt").input_ids
    return ids


def encode_text(run: Run, token_ids: Tensor) -> Tensor:
    """Token ids (B, 77) -> hidden states (B, 77, D)."""
    return run("text_encoder", {"token_ids": token_ids})["text"]


def encode_images(run: Run, image: Tensor, layout: Tensor) -> Encoded:
    """Images (B, 3, H, W) in -1..1 and control maps (B, 3, H, W) in 0..1."""
    moments = run("vae_encoder", {"image": image})
    return Encoded(moments["mean"], moments["logvar"], run("control_hint", {"layout": layout})["hint"])


def transfer_encoded(
    run: Run, info: ModelInfo, encoded: Encoded, cond: Tensor, uncond: Tensor, seeds: Sequence[int], sampling: Sampling
) -> Tensor:
    """Repaint a batch: (B, 3, H, W) float32, about -1..1.

    cond, uncond  hidden states (1, 77, D) of the prompt and the negative prompt
    seeds         one per image, see `image_seed`
    """
    device = encoded.mean.device
    alphas = alphas_cumprod(info.scheduler)
    plan = make_plan(alphas, strength=sampling.strength, steps=sampling.steps, timesteps=sampling.timesteps)
    shape = encoded.mean.shape
    noise = draw_noise(seeds, (shape[1], shape[2], shape[3]), len(plan.decode)).to(device)
    posterior = encoded.mean + torch.exp(0.5 * encoded.logvar) * noise[0]
    _, result = transfer_latents(
        noise_predictor(run, info, encoded.hint, cond, uncond, sampling.control_scale, alphas),
        (posterior - info.shift_factor) * info.scaling_factor,
        alphas_cumprod=alphas,
        strength=sampling.strength,
        steps=sampling.steps,
        guidance=sampling.guidance,
        eta=sampling.eta,
        invert_noise=noise[1],
        step_noise=noise[2:],
        timesteps=sampling.timesteps,
    )
    return run("vae_decoder", {"latents": result / info.scaling_factor + info.shift_factor})["image"]


def noise_predictor(
    run: Run, info: ModelInfo, hint: Tensor, cond: Tensor, uncond: Tensor, control_scale: float, alphas: Tensor
) -> Predict:
    """The denoiser as the sampler sees it; both branches of guidance go through the network in one call."""
    batch, device = hint.shape[0], hint.device
    scale = torch.tensor(control_scale, device=device)
    texts = {"cond": cond.expand(batch, -1, -1), "uncond": uncond.expand(batch, -1, -1)}
    texts["both"] = torch.cat([texts["cond"], texts["uncond"]])
    hints = {"cond": hint, "uncond": hint, "both": torch.cat([hint, hint])}

    def predict(x: Tensor, t: int, branch: Branch) -> Tensor | tuple[Tensor, Tensor]:
        latents = torch.cat([x, x]) if branch == "both" else x
        timestep = torch.full((len(latents),), t, dtype=torch.int64, device=device)
        inputs = {"latents": latents, "timestep": timestep, "text": texts[branch], "hint": hints[branch]}
        eps = run("denoiser", {**inputs, "control_scale": scale})["noise"]
        if info.prediction_type == "v_prediction":
            abar = float(alphas[t])
            eps = abar**0.5 * eps + (1 - abar) ** 0.5 * latents
        return (eps[:batch], eps[batch:]) if branch == "both" else eps

    return predict
