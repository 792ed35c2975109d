"""Real tiny models and data sets, made on the spot."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Tiny models gain nothing from threads, and lose much where other processes want the processors too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

IDS = (7, 8, 11, 21, 23, 26, 4)  # road, sidewalk, building, vegetation, sky, car, and one void class


def make_street(root: Path, count: int = 3, size: tuple[int, int] = (48, 96), seed: int = 0) -> Path:
    """A folder data set with Cityscapes ids: smooth images, blocky labels; keys a/0, a/1, ..."""
    rng = np.random.default_rng(seed)
    height, width = size
    for i in range(count):
        coarse = rng.integers(0, 256, (6, 12, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        ids = rng.choice(np.array(IDS, np.uint8), (6, 12))
        label = Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST)
        for kind, picture in (("images", image), ("labels", label)):
            path = root / kind / "a" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    (root / "dataset.json").write_text('{"dataset": "folder", "label_set": "cityscapes", "labels": "ids"}')
    return root


@pytest.fixture
def street(tmp_path: Path) -> Path:
    return make_street(tmp_path / "street")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion with ControlNet of a few thousand weights; latents are 1/8, sides are multiples of 16."""
    from zodi.town.parts import build_parts, fill_zero_convolutions, save_model

    parts = build_parts(words=["driving", "at", "night"], seed=1)
    fill_zero_convolutions(parts["controlnet"], seed=2)
    for name, parameter in parts["controlnet"].controlnet_cond_embedding.named_parameters():
        if name.endswith("weight"):
            parameter.data *= 3.0  # else the layout would hardly matter
    directory = tmp_path_factory.mktemp("models") / "tiny"
    save_model(parts, directory, {"image_size": 32})
    return directory


@pytest.fixture(scope="session")
def tiny_bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a bundle for batches of 1 to 4 and images of any size; takes most of a minute to make."""
    from zodi.api import EngineChoice, ExportChoice, ModelChoice, export_engines

    directory = tmp_path_factory.mktemp("bundles") / "tiny"
    export_engines(
        ModelChoice(str(tiny_model)),
        EngineChoice("ort", bundle=directory),
        sizes=ExportChoice(size=(32, 64), batch=(1, 2, 4), static=False),
    )
    return directory


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `zodi ARGUMENTS` in this process, through the real entry point."""
    from zodi.cli.__main__ import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["zodi", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return run
