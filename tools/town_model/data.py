"""Scenes in memory-mapped files: rendered once by several processes, each scene in one domain only."""

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from town_model.settings import DOMAIN_CYCLE, HELD_OUT_SEEDS, SIZE, TRAIN_SEEDS
from town_model.training import Clock
from zodi.errors import OutputError
from zodi.files import write_atomic
from zodi.town import DOMAINS, render

EMPHASIS = 0.3  # share of the scenes drawn that come from the emphasised domains on top of their own share
BLOCK = 16  # scenes that a worker renders at a time


@dataclass(frozen=True)
class Scenes:
    """Training scenes that are rendered: images (N, H, W, 3) uint8, labels (N, H, W) train ids, memory-mapped."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def domain_of(index: int) -> str:
    """The one domain in which training scene `index` is ever rendered."""
    return DOMAIN_CYCLE[index % len(DOMAIN_CYCLE)]


def draw_scenes(rng: np.random.Generator, total: int, count: int, emphasis: Sequence[str]) -> NDArray[np.int64]:
    """Indices of `count` of `total` scenes; a share EMPHASIS of them is moved to the emphasised domains, if any."""
    which = rng.integers(total, size=count)
    places = [place for place, domain in enumerate(DOMAIN_CYCLE) if domain in emphasis]
    if places:
        cycle = len(DOMAIN_CYCLE)
        moved = np.minimum(which // cycle, total // cycle - 1) * cycle + rng.choice(places, count)
        which = np.where(rng.random(count) < EMPHASIS, moved, which)
    return which


def to_planes(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Images (B, H, W, 3) uint8, copied -> (B, 3, H, W) in -1..1, channels last in memory."""
    planes = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float()
    return planes / 127.5 - 1.0


def held_out(index: int, domain: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image and label of an evaluation scene, which may be seen in every domain."""
    return render(HELD_OUT_SEEDS + index, domain, SIZE)


def render_scenes(out: Path, count: int, *, threads: int, clock: Clock) -> None:
    """Render scenes 0..count-1 into OUT/data; what is there stays, so that a broken or shorter run goes on.

    Raises OutputError where the files were rendered by other code.
    """
    folder = out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    check_renderer(folder)
    height, width = SIZE
    for name, size in (("images.u8", height * width * 3), ("labels.u8", height * width), ("done.u8", 1)):
        path = folder / name
        path.touch()
        if path.stat().st_size < count * size:
            with path.open("r+b") as file:
                file.truncate(count * size)
    done = np.memmap(folder / "done.u8", np.uint8, "r")[:count]
    missing = np.flatnonzero(done == 0)
    blocks = [missing[i : i + BLOCK] for i in range(0, len(missing), BLOCK)]
    print(f"data: {count - len(missing)} of {count} scenes are there", flush=True)
    with ProcessPoolExecutor(threads) as pool:
        for start in range(0, len(blocks), threads):
            if clock.over():
                break
            list(pool.map(_render_block, [(folder, block) for block in blocks[start : start + threads]]))
            if start // threads % 20 == 0:
                print(f"data: {int(done.sum())} of {count} scenes, {clock.minutes():.1f} min", flush=True)
    print(f"data: {int(done.sum())} of {count} scenes", flush=True)


def open_scenes(out: Path) -> Scenes:
    """The scenes that are rendered, up to the first that is not; OutputError where there are none."""
    folder = out / "data"
    if not (folder / "done.u8").is_file() or not len(done := np.fromfile(folder / "done.u8", np.uint8)) or not done[0]:
        raise OutputError(f"{folder}: holds no scenes: run --stage data first")
    count = len(done) if done.all() else int(np.argmin(done))
    shape = (count, *SIZE)
    return Scenes(
        np.memmap(folder / "images.u8", np.uint8, "r", shape=(*shape, 3)),
        np.memmap(folder / "labels.u8", np.uint8, "r", shape=shape),
    )


def check_renderer(folder: Path) -> None:
    """Keep a scene of every domain beside the rest, and raise OutputError where it comes out differently now."""
    scenes = [render(TRAIN_SEEDS - 1, domain, SIZE) for domain in DOMAINS]
    images, label = np.stack([image for image, _ in scenes]), scenes[0][1]
    path = folder / "renderer.npz"
    if not path.is_file():
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images, label=label)
        write_atomic(path, buffer.getvalue())
    with np.load(path) as stored:
        same = np.array_equal(stored["label"], label)
        # processors differ by one level in a few values, see docs/town.md
        if not same or np.abs(stored["images"].astype(np.int16) - images).max() > 2:
            raise OutputError(f"{folder}: was rendered by another zodi.town: delete it or use another --out")


def _render_block(job: tuple[Path, NDArray[np.int64]]) -> None:
    folder, block = job
    images = np.memmap(folder / "images.u8", np.uint8, "r+").reshape(-1, *SIZE, 3)
    labels = np.memmap(folder / "labels.u8", np.uint8, "r+").reshape(-1, *SIZE)
    done = np.memmap(folder / "done.u8", np.uint8, "r+")
    for i in block:
        images[i], labels[i] = render(TRAIN_SEEDS + int(i), domain_of(int(i)), SIZE)
    done[block] = 1  # after the pixels: a killed worker's scenes are rendered again
