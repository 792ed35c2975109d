"""What training costs beside the net: zodi's step against a bare loop, and how many pairs a core prepares.

    python benchmarks/training.py [--steps 20] [--pairs 40]

The step: `zodi.segmenter.loop.train_step` with accelerate, averages and logging, against forward, backward and the
optimiser's step written out, on the same net and batch of pairs in turns. The input: Cityscapes-size pairs from a
folder cache, crops of 384x768 with all of the colour jitter, one thread. Prints one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from zodi.adapt.loading import PairBatches
from zodi.adapt.objective import make_pair_loss
from zodi.adapt.pairs import Pair, Partner
from zodi.data import open_dataset
from zodi.segmenter.averaging import Averages
from zodi.segmenter.loop import make_optimizer, train_step
from zodi.segmenter.nets import build_net
from zodi.segmenter.processes import make_accelerator
from zodi.segmenter.settings import TrainSettings, make_settings

IDS = np.array([7, 8, 11, 21, 23, 26, 4], np.uint8)


class Form:
    mean = std = (0.5, 0.5, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=40)
    options = parser.parse_args()
    print(json.dumps({**step_ratio(options.steps), **pairs_per_second(options.pairs)}, indent=2))


def step_ratio(steps: int) -> dict[str, float]:
    """Median seconds of a step of zodi's and of a bare one, and their ratio."""
    settings = make_settings(
        encoder="tu-mobilenetv3_small_100",
        encoder_weights="none",
        size=(128, 256),
        crop=(128, 256),
        batch=4,
        iterations=1,
    )
    torch.manual_seed(0)
    batch = {name: torch.randn(4, 3, 128, 256) for name in ("image", "synthetic")}
    batch = {name: t.contiguous(memory_format=torch.channels_last) for name, t in batch.items()}
    batch |= {name: torch.randint(0, 19, (4, 128, 256)) for name in ("label", "synthetic_label")}
    times: dict[str, list[float]] = {"zodi": [], "bare": []}
    runs = {"zodi": zodi_step(settings, batch), "bare": bare_step(settings, batch)}
    for number in range(steps + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number >= 2:  # the first two warm up
                times[name].append(time.perf_counter() - start)
    zodi, bare = (statistics.median(times[name]) for name in ("zodi", "bare"))
    return {"step_s": zodi, "bare_step_s": bare, "step_ratio": zodi / bare}


def new_net(settings: TrainSettings) -> torch.nn.Module:
    net = build_net(settings.architecture, settings.encoder, 19).net.train()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def zodi_step(settings: TrainSettings, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """What `zodi.segmenter.loop.fit` does for a step."""
    net = new_net(settings)
    accelerator = make_accelerator(settings, "cpu")
    wrapped, optimizer = accelerator.prepare(net, make_optimizer(net, settings))
    averages, loss = Averages(net, settings.ema), make_pair_loss(0.1)

    def run() -> None:
        train_step(wrapped, optimizer, loss, batch, 1e-3, accelerator)
        averages.update(net)

    return run


def bare_step(settings: TrainSettings, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """The same written out, without accelerate, averages and any check."""
    net = new_net(settings)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=settings.weight_decay)

    def run() -> None:
        optimizer.zero_grad()
        source = net(batch["image"], with_features=True)
        synthetic = net(batch["synthetic"], with_features=True)
        features = [outputs.features.mean((2, 3)) for outputs in (source, synthetic)]
        loss = functional.cross_entropy(source.logits, batch["label"], ignore_index=255)
        loss = loss + functional.cross_entropy(synthetic.logits, batch["synthetic_label"], ignore_index=255)
        (loss - 0.1 * functional.cosine_similarity(*features).mean()).backward()
        optimizer.step()

    return run


def pairs_per_second(count: int) -> dict[str, float]:
    """Pairs of 2048x1024 images and results of 1024x512, trained at 512x1024: decoded once, then from the cache."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for i in range(count):
            smooth = Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8))
            label = Image.fromarray(rng.choice(IDS, (32, 64)))
            for kind, picture, size in (
                ("images", smooth, 2048),
                ("labels", label, 2048),
                ("made/night", smooth, 1024),
            ):
                path = root / kind / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.resize((size, size // 2), Image.Resampling.NEAREST).save(path, compress_level=1)
        (root / "dataset.json").write_text('{"dataset": "folder", "label_set": "cityscapes", "labels": "ids"}')
        dataset = open_dataset("folder", root)
        pairs = [Pair(s, (Partner("night", root / f"made/night/{s.key}.png"),)) for s in dataset.samples]
        settings = make_settings(size=(512, 1024), crop=(384, 768), batch=4, epochs=1)
        found = {}
        for name in ("first_epoch_pairs_per_s", "cached_pairs_per_s"):
            batches = PairBatches(dataset, pairs, settings, Form(), workers=1, cache=root / "cache")
            start = time.perf_counter()
            seen = sum(len(batch["image"]) for batch in batches(0, 0))
            found[name] = seen / (time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main()
