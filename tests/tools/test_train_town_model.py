"""The training of the bundled model, at a size of a few thousand weights: every stage, resuming, and what comes out."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow  # a minute, for a tool that users do not run

TOOLS = Path(__file__).parents[2] / "tools"
SIZES = [
    *("--vae-channels=8,8,8,8", "--hint-channels=8,8,8,8", "--unet-channels=8,16", "--groups=4", "--heads=2"),
    "--text-width=16",
    *("--latent-channels=4", "--autoencoder-batch=4", "--diffusion-batch=4", "--threads=1"),
]
STEPS = ["--encoder-steps=3", "--autoencoder-steps=4", "--diffusion-steps=4"]


@pytest.fixture(scope="module")
def tool() -> Any:
    """The tool as a module; its folder is not a package of zodi."""
    sys.path.insert(0, str(TOOLS))
    threads = torch.get_num_threads()
    import train_town_model

    yield train_town_model
    torch.set_num_threads(threads)
    sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def trained(tool: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages but the last."""
    out = tmp_path_factory.mktemp("training") / "whole"
    for stage in ("data", "autoencoder", "diffusion", "export"):
        assert tool.main(["--stage", stage, "--out", str(out), "--scenes", "14", *SIZES, *STEPS]) == 0
    return out


def test_a_scene_is_rendered_in_one_domain_from_seeds_of_its_own(tool: Any, trained: Path) -> None:
    from town_model.data import domain_of, open_scenes
    from town_model.settings import TRAIN_SEEDS

    from zodi.town import DOMAINS, render

    scenes = open_scenes(trained)
    assert len(scenes) == 14
    assert {domain_of(i) for i in range(14)} == set(DOMAINS)
    for i in (0, 8):
        image, label = render(TRAIN_SEEDS + i, domain_of(i))
        assert np.array_equal(scenes.images[i], image) and np.array_equal(scenes.labels[i], label)


def test_emphasised_domains_are_drawn_more_often(tool: Any) -> None:
    from town_model.data import domain_of, draw_scenes

    def shares(emphasis: tuple[str, ...]) -> dict[str, float]:
        which = draw_scenes(np.random.default_rng(0), 700, 20_000, emphasis)
        assert which.min() >= 0 and which.max() < 700
        drawn = [domain_of(int(i)) for i in which]
        return {domain: drawn.count(domain) / len(drawn) for domain in ("night", "game", "fog")}

    for emphasis, expected in {(): (2 / 7, 1 / 7, 1 / 7), ("game", "fog"): (0.2, 0.25, 0.25)}.items():
        assert np.allclose(list(shares(emphasis).values()), expected, atol=0.02)
    with pytest.raises(SystemExit):
        tool.main(["--stage", "data", "--out", "unused", "--emphasis", "mist"])


def test_scenes_that_are_there_are_not_rendered_again(tool: Any, trained: Path, tmp_path: Path) -> None:
    from town_model.data import open_scenes

    out = tmp_path / "more"
    shutil.copytree(trained / "data", out / "data")
    done = np.fromfile(out / "data" / "done.u8", np.uint8)
    done[3] = 0
    done.tofile(out / "data" / "done.u8")
    images = np.memmap(out / "data" / "images.u8", np.uint8, "r+").reshape(14, -1)
    images[2:4] = 7
    images.flush()
    assert len(open_scenes(out)) == 3
    assert tool.main(["--stage", "data", "--out", str(out), "--scenes", "15", "--threads", "1"]) == 0
    scenes = open_scenes(out)
    assert len(scenes) == 15
    assert (scenes.images[2] == 7).all()
    assert np.array_equal(scenes.images[3], open_scenes(trained).images[3])


def test_data_of_another_renderer_is_refused(tool: Any, trained: Path, tmp_path: Path) -> None:
    from town_model.data import check_renderer

    from zodi.errors import OutputError

    with np.load(trained / "data" / "renderer.npz") as stored:
        images, label = stored["images"].copy(), stored["label"]
    images[0, 5, 5] ^= 64
    np.savez(tmp_path / "renderer.npz", images=images, label=label)
    with pytest.raises(OutputError, match="rendered by another"):
        check_renderer(tmp_path)


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_broken_run_ends_in_the_same_weights(tool: Any, trained: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "broken"
    for folder in ("data", "autoencoder") if stage == "diffusion" else ("data",):
        shutil.copytree(trained / folder, out / folder)
    run = ["--stage", stage, "--out", str(out), *SIZES, *STEPS]
    interrupt(tool, run, stage, after=2)
    assert load(out, stage)["step"] == 2
    assert tool.main(run) == 0
    whole, broken = load(trained, stage), load(out, stage)
    assert whole["step"] == broken["step"] == 4
    for kind in ("modules", "ema", "optimizers"):
        first, second = dict(flatten(whole[kind])), dict(flatten(broken[kind]))
        assert first.keys() == second.keys() and len(first) > 10
        for name, value in first.items():
            assert torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name], name
    assert rows(out, stage) == rows(trained, stage)


def test_a_run_goes_on_from_an_exported_model(tool: Any, trained: Path, tmp_path: Path) -> None:
    """Without a step it exports what it began with, on the schedule that it was given."""
    from safetensors.torch import load_file

    out, start = tmp_path / "further", trained / "model"
    shutil.copytree(trained / "data", out / "data")
    steps = ["--autoencoder-steps=0", "--diffusion-steps=0", "--beta-end=0.02", "--start", str(start)]
    for stage in ("diffusion", "export"):
        assert tool.main(["--stage", stage, "--out", str(out), *SIZES, *steps]) == 0
    for name in ("unet", "controlnet"):
        file = f"{name}/diffusion_pytorch_model.safetensors"
        before, after = load_file(start / file), load_file(out / "model" / file)
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
    scheduler = json.loads((out / "model" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["beta_end"] == 0.02
    assert "as it was in the model that this one was started from" in (out / "model" / "README.md").read_text()


def test_the_encoder_stops_learning_and_the_decoder_goes_on(tool: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "longer"
    for folder in ("data", "autoencoder"):
        shutil.copytree(trained / folder, out / folder)
    steps = ["--encoder-steps=3", "--autoencoder-steps=6"]
    assert tool.main(["--stage", "autoencoder", "--out", str(out), *SIZES, *steps]) == 0
    before, after = load(trained, "autoencoder"), load(out, "autoencoder")
    assert (before["step"], after["step"]) == (4, 6)
    moved = {name for name, value in before["ema"].items() if not torch.equal(value, after["ema"][name])}
    assert moved and all(name.startswith(("vae.decoder.", "vae.post_quant_conv.")) for name in moved)


def test_the_perceptual_distance_is_of_a_segmenter_that_is_trained_once(
    tool: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from town_model.data import open_scenes, to_planes
    from town_model.perceptual import perceptual_distance
    from town_model.training import Clock

    monkeypatch.setattr("town_model.perceptual.STEPS", 2)
    out = tmp_path / "perceptual"
    shutil.copytree(trained / "data", out / "data")
    run = ["--stage", "autoencoder", "--out", str(out), *SIZES, "--perceptual=0.1"]
    assert tool.main([*run, "--autoencoder-steps=2", "--minutes=0"]) == 0
    assert not (out / "perceptual.pt").exists()  # broken off: half a segmenter is not kept
    assert tool.main([*run, "--autoencoder-steps=2"]) == 0
    written = (out / "perceptual.pt").stat().st_mtime_ns
    assert tool.main([*run, "--autoencoder-steps=3"]) == 0
    assert (out / "perceptual.pt").stat().st_mtime_ns == written
    log = (out / "autoencoder" / "log.csv").read_text().splitlines()
    assert all(float(row["perceptual"]) > 0 for row in csv.DictReader(log))

    device = torch.device("cpu")
    image = to_planes(open_scenes(out).images[:2], device)
    distance = perceptual_distance(out, open_scenes(out), device, Clock())
    soft, softer = (torch.nn.functional.avg_pool2d(image, n, 1, n // 2) for n in (3, 7))
    assert distance(image, image) < 1e-6 < distance(soft, image) < distance(softer, image)


def test_settings_of_a_run_cannot_change(tool: Any, trained: Path) -> None:
    from zodi.errors import OutputError

    with pytest.raises(OutputError, match="unet_channels is \\[8, 16\\] there, \\[8, 24\\] now"):
        tool.main(["--stage", "export", "--out", str(trained), "--unet-channels", "8,24"])


def test_the_log_has_a_row_for_the_last_step(trained: Path) -> None:
    for stage, terms in (("autoencoder", {"l1", "kl"}), ("diffusion", {"mse"})):
        with (trained / stage / "log.csv").open(newline="") as file:
            row = list(csv.DictReader(file))[-1]
        assert terms <= row.keys()
        assert row["step"] == "4" and np.isfinite(float(row["loss"]))


def test_the_exported_model_loads_and_its_latents_have_unit_variance(trained: Path) -> None:
    from town_model.data import open_scenes, to_planes

    from zodi.engines.components import load_components

    components = load_components(str(trained / "model"))
    assert components.info.image_size == 128
    assert components.info.guidance > 1
    assert components.info.words is not None and {"driving", "night", "worst", "game"} <= set(components.info.words)
    with torch.no_grad():
        planes = to_planes(open_scenes(trained).images, torch.device("cpu"))
        latents = components.vae.encode(planes).latent_dist.mean * components.info.scaling_factor
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.05
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05
    card = (trained / "model" / "README.md").read_text()
    assert "14 scenes" in card and "4 steps" in card


def test_folding_the_normalisation_does_not_change_the_round_trip(tool: Any, trained: Path) -> None:
    from town_model.autoencoder import normalise, open_autoencoder
    from town_model.data import open_scenes, to_planes
    from town_model.settings import open_settings

    device = torch.device("cpu")
    state = open_autoencoder(trained, open_settings(trained, {}), device)
    state.use_averages()
    vae = state.modules["vae"].eval()
    image = to_planes(open_scenes(trained).images[:2], device)
    with torch.no_grad():
        before, wide = vae.decode(vae.encode(image).latent_dist.mean).sample, vae.encode(image).latent_dist
        normalise(vae, trained)
        after, narrow = vae.decode(vae.encode(image).latent_dist.mean).sample, vae.encode(image).latent_dist
    assert (before - after).abs().max() < 1e-3 * before.std()
    ratio = (narrow.std / wide.std) / (narrow.mean.std(dim=(0, 2, 3)) / wide.mean.std(dim=(0, 2, 3)))[
        None, :, None, None
    ]
    assert (ratio - 1).abs().max() < 1e-2  # the posterior's width is scaled with its mean


def test_evaluation_goes_through_the_method(tool: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("town_model.classifier.STEPS", 3)
    options = ["--eval-scenes=1", "--target=fog", "--threads=1"]
    assert tool.main(["--stage", "evaluate", "--out", str(trained), *options]) == 0
    figures = json.loads((trained / "evaluation" / "figures.json").read_text())
    assert set(figures["domains"]) == {"clear", "night", "snow", "rain", "fog", "game"}
    assert figures["domains"]["fog"]["seconds_per_image"] > 0
    assert 3 < figures["domains"]["clear"]["psnr_db"] < 60
    with Image.open(trained / "evaluation" / "transfer.png") as sheet:
        assert sheet.width > 4 * 256


def interrupt(tool: Any, run: list[str], stage: str, *, after: int) -> None:
    """Run a stage, and send it SIGTERM after some steps."""
    import os
    import signal

    from town_model import training

    original = training.State.average

    def average(state: Any) -> None:
        original(state)
        if state.step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    training.State.average = average
    try:
        assert tool.main(run) == 143
    finally:
        training.State.average = original


def load(out: Path, stage: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(out / stage / "checkpoint.pt", weights_only=True)
    return content


def rows(out: Path, stage: str) -> list[str]:
    """The steps that the log has."""
    with (out / stage / "log.csv").open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


def flatten(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [pair for key, value in tree.items() for pair in flatten(value, f"{prefix}.{key}")]
    if isinstance(tree, (list, tuple)):
        return [pair for i, value in enumerate(tree) for pair in flatten(value, f"{prefix}.{i}")]
    return [(prefix, tree)]
