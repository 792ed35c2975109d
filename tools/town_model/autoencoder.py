"""Train the autoencoder on crops of scenes, then encode every scene once."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from town_model.data import Scenes, draw_scenes, open_scenes, to_planes
from town_model.optimizer import start_as_identities
from town_model.perceptual import perceptual_distance
from town_model.settings import DOMAIN_CYCLE, SCALING_FACTOR, SIZE, Settings
from town_model.training import Clock, State, half_precision, train
from zodi.errors import OutputError
from zodi.files import write_atomic
from zodi.town.parts import build_parts

WHOLE = 0.8  # from this share of the steps on, whole scenes instead of crops: group norm sees what it will see in use
ENCODE_BATCH = 16


def open_autoencoder(out: Path, settings: Settings, device: torch.device) -> State:
    """The autoencoder as it was saved last, or new."""
    torch.manual_seed(settings.seed)
    vae = build_parts(
        vae_channels=settings.vae_channels,
        unet_channels=(settings.groups,) * 2,
        latent_channels=settings.latent_channels,
        groups=settings.groups,
        heads=1,
        vae_attention=False,
        scaling_factor=SCALING_FACTOR,
        seed=settings.seed,
    )["vae"]
    with torch.no_grad():  # a new posterior is narrow: latents that start as noise would teach the decoder nothing
        vae.quant_conv.bias[settings.latent_channels :] = -4.0
    start_as_identities(vae)
    path = out / "autoencoder" / "checkpoint.pt"
    return State({"vae": vae}, path, rate=settings.autoencoder_rate, device=device, start=settings.start)


def train_autoencoder(out: Path, settings: Settings, device: torch.device, clock: Clock, save_minutes: float) -> None:
    """Train up to `settings.autoencoder_steps`."""
    scenes = open_scenes(out)
    state = open_autoencoder(out, settings, device)
    vae = state.modules["vae"].train()
    distance = perceptual_distance(out, scenes, device, clock) if settings.perceptual else None

    def loss(rng: np.random.Generator, generator: torch.Generator) -> dict[str, Tensor]:
        if state.step >= settings.encoder_steps and vae.quant_conv.weight.requires_grad:
            state.freeze(("vae.encoder.", "vae.quant_conv."))
        whole = state.step >= WHOLE * settings.autoencoder_steps
        image = to_planes(draw_crops(scenes, rng, settings.autoencoder_batch, whole, settings.emphasis), device)
        with half_precision(device):
            posterior = vae.encode(image).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        terms = autoencoder_loss(decoded.float(), image, posterior.mean.float(), posterior.logvar.float(), settings.kl)
        terms["perceptual"] = distance(decoded.float(), image) if distance else image.new_zeros(())
        return {**terms, "loss": terms["loss"] + settings.perceptual * terms["perceptual"]}

    train(
        state, loss, name="autoencoder", steps=settings.autoencoder_steps, settings=settings,
        rate=settings.autoencoder_rate, clock=clock, save_minutes=save_minutes,
    )  # fmt: skip


def draw_crops(
    scenes: Scenes, rng: np.random.Generator, batch: int, whole: bool, emphasis: Sequence[str]
) -> NDArray[np.uint8]:
    """`batch` random crops of half the height and width, or a quarter as many whole scenes; each mirrored or not."""
    height, width = SIZE
    count, size = (max(batch // 4, 1), SIZE) if whole else (batch, (height // 2, width // 2))
    crops = np.empty((count, *size, 3), np.uint8)
    for crop, i in zip(crops, draw_scenes(rng, len(scenes), count, emphasis), strict=True):
        top, left = (int(rng.integers(n)) for n in (height - size[0] + 1, width - size[1] + 1))
        crop[:] = scenes.images[i, top : top + size[0], left : left + size[1]][:, :: int(rng.integers(2)) * 2 - 1]
    return crops


def autoencoder_loss(decoded: Tensor, image: Tensor, mean: Tensor, logvar: Tensor, kl: float) -> dict[str, Tensor]:
    """Absolute error of values, of differences between neighbours (thin objects) and of block means (colours).

    Errors count relative to the contrast of the image, so that night and fog weigh as much as a clear day.
    """
    error = decoded - image
    weight = (0.5 / (image.detach().std(dim=(1, 2, 3)) + 0.1)).clamp(0.7, 2.5)
    values = error.abs().mean(dim=(1, 2, 3))
    edges = error.diff(dim=2).abs().mean(dim=(1, 2, 3)) + error.diff(dim=3).abs().mean(dim=(1, 2, 3))
    coarse = functional.avg_pool2d(error, 8).abs().mean(dim=(1, 2, 3))
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return {
        "loss": (weight * (values + 0.5 * edges + 0.5 * coarse)).mean() + kl * divergence,
        "l1": values.mean(),
        "edges": edges.mean(),
        "mse": (error**2).mean(),
        "kl": divergence,
    }


@torch.no_grad()
def encode_scenes(out: Path, settings: Settings, device: torch.device, clock: Clock) -> NDArray[np.float16]:
    """Latent means of all scenes, (N, C, h, w) float16, normalised per channel; encoded once per autoencoder.

    The statistics are taken from the first scenes and stay, so that more scenes can be added.
    """
    scenes = open_scenes(out)
    state = open_autoencoder(out, settings, device)
    if state.is_random():
        raise OutputError(f"{state.path}: is missing: run --stage autoencoder first")
    state.use_averages()
    vae = state.modules["vae"].eval()
    name = weights_name(vae)
    path, statistics = out / "latents" / f"{name}.f16", out / "latents" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    factor = 2 ** (len(settings.vae_channels) - 1)
    shape = (settings.latent_channels, SIZE[0] // factor, SIZE[1] // factor)
    size = 2 * int(np.prod(shape))
    if not statistics.is_file():
        first = torch.cat(list(_encode(vae, scenes, range(min(len(scenes), 64 * len(DOMAIN_CYCLE))), device)))
        mean, std = first.mean(dim=(0, 2, 3)), first.std(dim=(0, 2, 3))
        write_atomic(statistics, json.dumps({"mean": mean.tolist(), "std": std.tolist()}).encode())
    mean, std = read_statistics(statistics)
    done = path.stat().st_size // size
    with path.open("r+b") as file:
        file.truncate(done * size)
        file.seek(done * size)
        for latents in _encode(vae, scenes, range(done, len(scenes)), device):
            file.write(((latents - mean) / std).half().numpy().tobytes())
            done += len(latents)
            if clock.over():
                break
    spread = ", ".join(f"{value:.2f}" for value in std.flatten().tolist())
    print(f"latents: {done} of {len(scenes)} scenes, spread of channels {spread}", flush=True)
    return np.memmap(path, np.float16, "r", shape=(done, *shape))


def normalise(vae: nn.Module, out: Path) -> None:
    """Fold the normalisation into the 1x1 convolutions: latents times SCALING_FACTOR have unit variance then."""
    statistics = out / "latents" / f"{weights_name(vae)}.json"
    if not statistics.is_file():
        raise OutputError(f"{statistics}: is missing: run --stage diffusion first, it encodes the scenes")
    mean, std = (value.flatten() for value in read_statistics(statistics))
    channels = len(mean)
    device = next(vae.parameters()).device
    scale = (std * SCALING_FACTOR).to(device)
    mean = mean.to(device)
    with torch.no_grad():
        before, after = vae.quant_conv, vae.post_quant_conv
        before.weight[:channels] /= scale[:, None, None, None]  # type: ignore[index,union-attr]
        before.bias[:channels] = (before.bias[:channels] - mean) / scale  # type: ignore[index,union-attr]
        before.bias[channels:] -= 2 * scale.log()  # type: ignore[index,union-attr]
        after.bias += after.weight[:, :, 0, 0] @ mean  # type: ignore[index,union-attr,operator]
        after.weight *= scale[None, :, None, None]  # type: ignore[index,union-attr,operator]


def read_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents, (C, 1, 1) each."""
    table = json.loads(path.read_text())
    return torch.tensor(table["mean"])[:, None, None], torch.tensor(table["std"])[:, None, None]


def weights_name(vae: nn.Module) -> str:
    """16 hexadecimal digits of the encoder's weights: latents of another encoder are another file."""
    digest = hashlib.sha256()
    for key, value in sorted(vae.state_dict().items()):
        if not key.startswith(("encoder.", "quant_conv.")):
            continue
        digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _encode(vae: nn.Module, scenes: Scenes, which: range, device: torch.device):  # type: ignore[no-untyped-def]
    """Yield latent means (b, C, h, w) on the CPU."""
    for start in range(which.start, which.stop, ENCODE_BATCH):
        image = to_planes(scenes.images[start : min(start + ENCODE_BATCH, which.stop)], device)
        yield vae.encode(image).latent_dist.mean.float().cpu()  # type: ignore[operator]
