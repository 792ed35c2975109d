"""How fast a transfer run is without its model: decode, resize, encode, write, record at Cityscapes size.

    python benchmarks/transfer_io.py [--images 200] [--workers 2]

The engine is a callable that gives back its input. Sources are 2048x1024 PNGs of at least 2.5 MB with a label each, the
results 1024x512 PNGs. Prints one JSON object: images per second of wall time, processor time, and peak memory.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zodi.data import open_dataset
from zodi.model import ModelInfo
from zodi.ports import ModelDims
from zodi.transfer.batches import Transfer
from zodi.transfer.items import Job
from zodi.transfer.manifest import MANIFEST, Manifest
from zodi.transfer.pipeline import Sampling
from zodi.transfer.run import transfer_dataset
from zodi.transfer.settings import TransferSettings

FACTOR = 8


class NoEngine:
    """The five graphs without a model: the decoder gives back the images that the encoder was last given."""

    def __init__(self) -> None:
        self.image = torch.empty(0)

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if graph == "vae_encoder":
            self.image = inputs["image"]
            batch, _, height, width = self.image.shape
            latents = torch.zeros(batch, 4, height // FACTOR, width // FACTOR)
            return {"mean": latents, "logvar": latents}
        if graph == "control_hint":
            return {"hint": inputs["layout"][:, :1, ::FACTOR, ::FACTOR]}
        if graph == "denoiser":
            return {"noise": torch.zeros_like(inputs["latents"])}
        return {"image": self.image}


INFO = ModelInfo(
    name="nothing",
    controlnet="nothing",
    hash="0",
    dims=ModelDims(4, FACTOR, 64, 77, 1, 1),
    scaling_factor=1.0,
    shift_factor=0.0,
    prediction_type="epsilon",
    scheduler={
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
    },
    image_size=512,
)


def make_sources(root: Path, images: int, distinct: int = 8) -> None:
    """A folder data set of `images` pairs; the files of a few distinct ones are linked again and again."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for i in range(images):
        image, label = root / "images" / f"{i:05}.png", root / "labels" / f"{i:05}.png"
        if i < distinct:
            coarse = Image.fromarray(rng.integers(40, 216, (16, 32, 3), dtype=np.uint8)).resize((2048, 1024))
            noisy = np.asarray(coarse).astype(np.int16) + rng.integers(-4, 5, (1024, 2048, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(image)
            ids = rng.integers(7, 34, (16, 32), dtype=np.uint8)
            Image.fromarray(ids).resize((2048, 1024), Image.Resampling.NEAREST).save(label)
            assert image.stat().st_size >= 2.5e6, image.stat().st_size
        else:
            os.link(root / "images" / f"{i % distinct:05}.png", image)
            os.link(root / "labels" / f"{i % distinct:05}.png", label)
    (root / "dataset.json").write_text('{"dataset": "folder", "label_set": "cityscapes", "labels": "ids"}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    try:
        make_sources(folder / "in", arguments.images)
        dataset = open_dataset("folder", folder / "in")
        settings = TransferSettings(batch=4, steps=20)
        job = Job("night", "0", Sampling(strength=0.9, guidance=9.0), *torch.zeros(2, 1, 77, 1))
        transfer = Transfer(NoEngine().run, INFO, torch.device("cpu"), settings, folder / "out", dataset.label_set)
        start, processor = time.perf_counter(), -time.process_time()
        with Manifest(folder / "out" / MANIFEST) as manifest:
            progress = transfer_dataset(
                transfer,
                dataset,
                dataset.samples,
                [job],
                manifest=manifest,
                rows={},
                max_failures=0,
                workers=arguments.workers,
                stopped=lambda: False,
                on_progress=lambda progress: None,
            )
        seconds = time.perf_counter() - start
        processor += time.process_time()
        result = folder / "out" / "night" / "00000.png"
        with Image.open(result) as image:
            assert image.size == (1024, 512)
        report = {
            "images": progress.done,
            "images_per_s": round(progress.done / seconds, 2),
            "source_mb": round((folder / "in" / "images" / "00000.png").stat().st_size / 1e6, 2),
            "result_mb": round(result.stat().st_size / 1e6, 2),
            "processor_s_per_image": round(processor / progress.done, 4),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(report))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
