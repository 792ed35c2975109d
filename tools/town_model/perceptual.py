"""A segmenter of rendered scenes of all domains; what it sees in an image, the autoencoder shall keep."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from town_model.data import Scenes, to_planes
from town_model.settings import SIZE
from town_model.training import Clock, half_precision
from zodi.files import write_atomic
from zodi.labels import CITYSCAPES_19, IGNORE

STEPS = 600
BATCH = 16
RATE = 3e-3
STAGES = slice(2, 4)  # of the encoder: 4 and 8 times smaller than the image; finer ones look at noise


def perceptual_distance(
    out: Path, scenes: Scenes, device: torch.device, clock: Clock
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of decoded images and originals, (B, 3, H, W) in -1..1 both, that gives a mean distance.

    It adds the absolute differences of features, relative to their size, and the divergence of class probabilities.
    The segmenter is trained once and kept in OUT/perceptual.pt; where the clock is over before, nothing is kept.
    """
    net = build_net().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = out / "perceptual.pt"
    if path.is_file():
        net.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    else:
        train_net(net, scenes, device, clock)
        if not clock.over():
            buffer = io.BytesIO()
            torch.save(net.state_dict(), buffer)
            write_atomic(path, buffer.getvalue())
    net.eval().requires_grad_(False)

    def distance(decoded: Tensor, image: Tensor) -> Tensor:
        with torch.no_grad():
            wanted_features, wanted = _look(net, image)
        features, found = _look(net, decoded)
        total = functional.kl_div(found.log_softmax(1), wanted.softmax(1), reduction="none").sum(1).mean()
        for feature, expected in zip(features, wanted_features, strict=True):
            total = total + (feature - expected).abs().mean() / expected.abs().mean()
        return total

    return distance


def build_net() -> nn.Module:
    """A small U-Net, seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return smp.Unet(
            "tu-resnet10t",
            encoder_weights=None,
            decoder_channels=(64, 48, 32, 24, 16),
            classes=CITYSCAPES_19.num_classes,
        )


def train_net(net: nn.Module, scenes: Scenes, device: torch.device, clock: Clock) -> None:
    """Cross entropy on random quarters of scenes, until the clock is over."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    rng = np.random.default_rng(0)
    height, width = SIZE[0] // 2, SIZE[1] // 2
    for step in range(STEPS):
        if clock.over():
            return
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * (1 - step / STEPS)
        images = np.empty((BATCH, height, width, 3), np.uint8)
        labels = np.empty((BATCH, height, width), np.uint8)
        for k in range(BATCH):
            i, top, left = (int(rng.integers(n)) for n in (len(scenes), height + 1, width + 1))
            images[k] = scenes.images[i, top : top + height, left : left + width]
            labels[k] = scenes.labels[i, top : top + height, left : left + width]
        with half_precision(device):
            logits = net(to_planes(images, device))
        loss = functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(device).long(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"perceptual: step {step + 1}/{STEPS} loss {float(loss.detach()):.3f}", flush=True)


def _look(net: nn.Module, image: Tensor) -> tuple[list[Tensor], Tensor]:
    """Features of the middle stages, and logits, float32."""
    with half_precision(image.device):
        features = net.encoder(image)  # type: ignore[operator]
        logits = net.segmentation_head(net.decoder(features))  # type: ignore[operator]
    return [feature.float() for feature in features[STAGES]], logits.float()
