"""A domain classifier trained on rendered scenes: does a transferred image look like its domain?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from town_model.data import domain_of, open_scenes
from zodi.town import DOMAINS

SCENES = 1050  # of the training set
STEPS = 150
BATCH = 32


def domain_shares(
    out: Path, rendered: Mapping[str, Sequence[NDArray[np.uint8]]], results: Mapping[str, Sequence[NDArray[np.uint8]]]
) -> dict[str, dict[str, float]]:
    """By domain, the share of rendered and of transferred images that the classifier calls that domain."""
    model = train_classifier(out)
    shares = {domain: {"classifier_rendered": _share(model, images, domain)} for domain, images in rendered.items()}
    for domain, images in results.items():
        shares[domain]["classifier_transferred"] = _share(model, images, domain)
    return shares


def train_classifier(out: Path) -> nn.Module:
    """A small convolutional network on half-size images."""
    scenes = open_scenes(out)
    count = min(len(scenes), SCENES)
    images = shrink(scenes.images[:count])
    targets = torch.tensor([DOMAINS.index(domain_of(i)) for i in range(count)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(DOMAINS)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / STEPS)
        which = torch.from_numpy(rng.integers(count, size=BATCH))
        optimizer.zero_grad()
        functional.cross_entropy(model(images[which]), targets[which]).backward()
        optimizer.step()
    return model.eval()


def shrink(images: NDArray[np.uint8]) -> Tensor:
    """Images (B, H, W, 3) uint8 -> (B, 3, H/2, W/2) about -1..1."""
    planes = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return torch.cat([functional.avg_pool2d(part.float() / 127.5 - 1, 2) for part in planes.split(64)])


@torch.inference_mode()
def _share(model: nn.Module, images: Sequence[NDArray[np.uint8]], domain: str) -> float:
    called = model(shrink(np.stack(images))).argmax(1)
    return float((called == DOMAINS.index(domain)).float().mean())
