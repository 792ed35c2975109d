"""Training: it learns, it resumes bit for bit wherever it is cut, and it refuses to mix settings."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_street
from interrupt import Killed, kill_after
from PIL import Image

from zodi.data import open_dataset
from zodi.errors import DataError, EngineError, OutputError, SettingsError
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.averaging import Averages
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.objective import cross_entropy
from zodi.segmenter.schedule import learning_rate
from zodi.segmenter.settings import default_size, make_settings
from zodi.segmenter.train import train


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """A copy of an uninterrupted training of six steps."""
    return shutil.copytree(uninterrupted / "adamw", tmp_path / "whole")


def test_what_a_training_leaves(data, quick, finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "model.json", "model.safetensors", "train.csv", "train.json",
    ]  # fmt: skip
    rows = list(csv.DictReader((finished / "train.csv").open()))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [float(row["lr"]) for row in rows] == pytest.approx([1e-3 * (1 - i / 6) ** 0.9 for i in range(6)], rel=1e-6)
    segmenter = load_checkpoint(finished)
    assert segmenter.info.size == (48, 96)
    assert segmenter.info.classes[0] == "road"
    assert json.loads((finished / "train.json").read_text())["settings"]["seed"] == 3


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, quick):
    """The same training with either optimiser, never cut."""
    place = tmp_path_factory.mktemp("uninterrupted")
    data = make_street(place / "data", count=7)
    for optimizer in ("adamw", "sgd"):
        run(data, place / optimizer, replace(quick, optimizer=optimizer))
    return place


@pytest.mark.parametrize(
    ("step", "save_every", "optimizer"),
    [*((step, 2, "adamw") for step in range(1, 7)), (2, 0, "adamw"), (5, 0, "adamw"), (5, 1, "sgd")],
)
def test_killed_after_any_step_and_resumed(data, quick, uninterrupted, tmp_path, step, save_every, optimizer):
    settings = replace(quick, optimizer=optimizer)
    whole, cut = uninterrupted / optimizer, tmp_path / "cut"
    with pytest.raises(Killed):
        run(data, cut, settings, save_every=save_every, stopped=kill_after(step))
    assert not (cut / "model.json").exists()
    # what is saved is exactly what was due: the epoch's end is step 3
    saved = max([0, *(s for s in range(1, step) if s == 3 or (save_every and s % save_every == 0))])
    assert (torch.load(cut / "state.pt")["step"] if (cut / "state.pt").exists() else 0) == saved
    torch.manual_seed(99)  # the state of the generator is no part of the result
    run(data, cut, settings, save_every=save_every)
    assert weights(cut) == weights(whole)
    assert (cut / "train.csv").read_text() == (whole / "train.csv").read_text()


def test_killed_twice_in_an_epoch(data, quick, finished, tmp_path):
    for step in (2, 1, 3):
        with pytest.raises(Killed):
            run(data, tmp_path / "cut", quick, save_every=1, stopped=kill_after(step))
    run(data, tmp_path / "cut", quick)
    assert weights(tmp_path / "cut") == weights(finished)


def test_stopped_on_request(data, quick, finished, tmp_path):
    answers = iter([False, True])
    result = run(data, tmp_path / "cut", quick, stopped=lambda: next(answers))
    assert not result.finished
    assert torch.load(tmp_path / "cut/state.pt")["step"] == 2
    assert run(data, tmp_path / "cut", quick).finished
    assert weights(tmp_path / "cut") == weights(finished)


@pytest.mark.slow
def test_sigkill(data, quick, finished, tmp_path):
    code = (
        "import sys, json, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path; from zodi.data import open_dataset\n"
        "from zodi.segmenter.settings import TrainSettings; from zodi.segmenter.train import train\n"
        "settings = TrainSettings(**{k: tuple(v) if isinstance(v, list) else v "
        "for k, v in json.loads(sys.argv[3]).items()})\n"
        "step = lambda done, total, note: print(done, flush=True)\n"
        "train(open_dataset(None, Path(sys.argv[1])), Path(sys.argv[2]), settings, device='cpu', save_every=1, "
        "on_progress=step)\n"
    )
    arguments = [sys.executable, "-c", code, str(data), str(tmp_path / "cut"), json.dumps(quick.described())]
    kills = 0
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    run(data, tmp_path / "cut", quick)
    assert weights(tmp_path / "cut") == weights(finished)


def test_a_finished_training_is_not_done_again(data, quick, finished):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    assert run(data, finished, quick).finished
    assert (finished / "model.safetensors").stat().st_mtime_ns == before
    run(data, finished, quick, restart=True)
    assert (finished / "model.safetensors").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("changed", "named"), [({"lr": 2e-3}, "lr: 0.001 there, 0.002 now"), ({"seed": 4}, "seed"), ({"ema": 0.0}, "ema")]
)
def test_other_settings_are_refused_by_name(data, quick, finished, changed, named):
    kept = weights(finished)
    with pytest.raises(OutputError, match=rf"other settings \({named}.*--restart"):
        run(data, finished, replace(quick, **changed))
    assert weights(finished) == kept
    run(data, finished, replace(quick, **changed), restart=True)
    assert weights(finished) != kept


def test_other_data_are_refused(data, quick, finished, tmp_path):
    other = make_street(tmp_path / "other", count=8)
    with pytest.raises(OutputError, match=r"images: 7 there, 8 now"):
        run(other, finished, quick)
    # the same names, but one label was drawn anew
    Image.fromarray(np.full((48, 96), 7, np.uint8)).save(data / "labels/a/3.png")
    with pytest.raises(OutputError, match=r"files_sha256"):
        run(data, finished, quick)


def test_the_order_of_names_on_disk_does_not_matter(data, quick, finished, tmp_path):
    mirror = tmp_path / "mirror"
    for path in sorted(data.rglob("*"), reverse=True):
        if path.is_file():
            target = mirror / path.relative_to(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    run(mirror, tmp_path / "out", quick)
    assert weights(tmp_path / "out") == weights(finished)


def test_damaged_state_is_an_error_not_a_new_start(data, quick, tmp_path):
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", quick, stopped=kill_after(4))
    state = tmp_path / "cut/state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(OutputError, match=r"state\.pt: is damaged"):
        run(data, tmp_path / "cut", quick)


def test_foreign_output_is_refused(data, quick, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'thesis\.txt' and no train\.json"):
        run(data, tmp_path / "out", quick)


def test_mistakes_are_found_before_the_first_step(data, quick, tmp_path):
    with pytest.raises(SettingsError, match="7 images are less than one batch of 8"):
        run(data, tmp_path / "a", replace(quick, batch=8))
    with pytest.raises(SettingsError, match="crop 64x64 is larger than the size 48x96"):
        run(data, tmp_path / "b", replace(quick, crop=(64, 64)))
    with pytest.raises(SettingsError, match=r"crop 40x64 does not fit .* multiples of 16"):
        run(data, tmp_path / "c", replace(quick, crop=(40, 64)))
    with pytest.raises(EngineError, match="fp16 training needs a GPU"):
        run(data, tmp_path / "d", replace(quick, precision="fp16"))
    with pytest.raises(SettingsError, match="one image per process and step"):
        run(data, tmp_path / "f", replace(quick, batch=1))
    with pytest.raises(DataError, match="has no images"):
        train(replace(open_dataset(None, data), samples=()), tmp_path / "e", quick, device="cpu")


def test_divergence_is_told(data, quick, tmp_path):
    with pytest.raises(SettingsError, match=r"the loss is (nan|inf) at step .* lower --lr"):
        run(data, tmp_path / "out", replace(quick, optimizer="sgd", lr=1e12, epochs=20, ema=0.0))


def test_it_learns(data, quick, tmp_path):
    """Images in the colours of their classes; a net that only knew the classes' shares would stay at about 1.8."""
    for path in (data / "labels").rglob("*.png"):
        ids = np.asarray(Image.open(path))
        Image.fromarray(CITYSCAPES_19.id_colours[ids]).save(data / "images/a" / path.name)
    settings = replace(quick, epochs=None, iterations=30, jitter=False, lr=1e-2)
    run(data, tmp_path / "out", settings)
    losses = [float(row["loss"]) for row in csv.DictReader((tmp_path / "out/train.csv").open())]
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < 1.45


@pytest.mark.parametrize("step", [0, 1, 5, 9])
def test_learning_rates(step):
    by_step = make_settings(lr=0.1, iterations=10)
    assert learning_rate(by_step, step, 3, 10) == pytest.approx(0.1 * (1 - step / 10) ** 0.9)
    reference = make_settings("reference", epochs=5)
    assert learning_rate(reference, step, 2, 10) == pytest.approx(1e-3 * (1 - (step // 2) / 5) ** 0.9)


def test_learning_rate_floor():
    assert learning_rate(make_settings("reference"), 99_999_99, 100_000, 10_000_000) > 1e-6
    assert learning_rate(make_settings(lr=1e-4, iterations=10**6), 10**6 - 1, 10, 10**6) == 1e-6


def test_the_reference_recipe_to_the_letter():
    settings = make_settings("reference")
    assert settings.architecture == "deeplabv3plus-original"
    assert (settings.optimizer, settings.lr, settings.momentum, settings.weight_decay) == ("sgd", 1e-3, 0.9, 1e-4)
    assert (settings.schedule, settings.power, settings.lr_floor) == ("epoch", 0.9, 1e-6)
    assert (settings.epochs, settings.batch, settings.ema) == (100, 4, 0.0)
    assert (settings.size, settings.crop, settings.jitter) == ((512, 1024), (384, 768), True)
    assert settings.options == {"void_logit": True}


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 3, "iterations": 5}, {"batch": 0}, {"ema": 1.0}, {"optimizer": "adam"}, {"lr": -1.0}],
)
def test_wrong_settings(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        make_settings(**wrong)


def test_sizes_that_are_not_given():
    assert default_size((1024, 2048)) == (512, 1024)
    assert default_size((720, 960)) == (512, 672)
    assert default_size((128, 256)) == (128, 256)
    assert make_settings().resolved((1024, 2048)).crop == (384, 768)


def test_averages():
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    averages = Averages(net, 0.5)
    expected = 0.0
    for update in range(1, 30):
        with torch.no_grad():
            net.weight.fill_(float(update))
        averages.update(net)
        decay = min(0.5, update / (update + 10))
        expected = decay * expected + (1 - decay) * update
        assert averages.weights["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert 27 < expected < 29


def test_cross_entropy_of_shares_adds_up_to_that_of_the_whole():
    """Void is spread unevenly: a mean of means would be wrong."""
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 6, 7, requires_grad=True)
    labels = torch.randint(0, 5, (4, 6, 7))
    labels[0] = 255
    labels[3, :5] = 255
    valid = (labels != 255).sum().float()
    whole = cross_entropy(logits, labels, valid)
    direct = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
    assert whole.item() == pytest.approx(direct.item(), rel=1e-6)
    (expected,) = torch.autograd.grad(whole, logits)
    halves = sum(cross_entropy(logits[i : i + 2], labels[i : i + 2], valid / 2) for i in (0, 2)) / 2
    (gradient,) = torch.autograd.grad(halves, logits)
    assert torch.allclose(gradient, expected, atol=1e-8)


def test_cross_entropy_without_a_valid_pixel():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 2, 2), 255), torch.tensor(0.0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
