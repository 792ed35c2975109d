"""Pairs that cannot be used, and adaptations with nothing to learn or to score."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_street
from interrupt import Killed, kill_after
from PIL import Image
from synthetic import make_synthetic

from zodi.adapt.estimate import estimate
from zodi.adapt.pairs import in_holdout
from zodi.adapt.settings import AdaptSettings
from zodi.api import run_adapt
from zodi.data import open_dataset
from zodi.errors import DataError, OutputError
from zodi.segmenter.checkpoint import load_checkpoint

VOID_ID = 4  # of Cityscapes
VALIDATED = AdaptSettings(validate="synthetic", holdout=0.4, selection="synthetic-val")
KEPT_OUT = [i for i in range(7) if in_holdout(f"a/{i}", VALIDATED.holdout)]


def run(source, synthetic, output, settings, adapting=AdaptSettings(), **options):  # noqa: B008 (it is frozen)
    given = [] if synthetic is None else [synthetic]
    return run_adapt(
        open_dataset(None, source), output, settings, synthetic=given, adapting=adapting, device="cpu", **options
    )


def cut(path: Path) -> None:
    """Leave the header and two thirds of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def void(path: Path) -> None:
    """Make a label void everywhere."""
    Image.fromarray(np.full((48, 96), VOID_ID, np.uint8)).save(path)


def mask(synthetic: Path, *, hidden: bool) -> None:
    """A mask for each image, over all of it or over nothing."""
    for i in range(7):
        path = synthetic / f"masks/night/a/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 96), 255 * hidden, np.uint8)).save(path)


@pytest.mark.parametrize("bad", ["source/images", "source/labels", "synthetic/night", "synthetic/masks/night"])
@pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b"")], ids=["cut", "empty"])
def test_one_bad_file_does_not_end_an_adaptation(source, synthetic, quick, tmp_path, bad, damage):
    mask(synthetic, hidden=False)
    damage(tmp_path / bad / "a/3.png")
    told = []
    result = run(source, synthetic, tmp_path / "out", quick, notify=told.append)
    assert result.finished
    (failure,) = result.failures
    assert failure.startswith(f"{tmp_path / bad}/a/3.png: ")
    assert told == [f"left out: {failure}"]
    with pytest.raises(DataError, match=rf"{bad}/a/3\.png: "):
        run(source, synthetic, tmp_path / "strict", quick, max_failures=0)


def test_a_baseline_reads_no_synthetic_image(source, synthetic, quick, tmp_path):
    cut(source / "images/a/3.png")
    result = run(source, None, tmp_path / "out", quick, AdaptSettings(baseline="source-only"))
    assert result.finished
    assert len(result.failures) == 1


def test_a_bad_partner_of_several_is_resumed_as_it_was(source, quick, tmp_path):
    """The others of that image go on being used; what a run met before it was cut decides nothing."""
    synthetic = make_synthetic(source, tmp_path / "synthetic", ("night", "snow", "fog"))
    cut(synthetic / "snow/a/2.png")
    settings = replace(quick, epochs=4)
    whole = run(source, synthetic, tmp_path / "whole", settings)
    assert len(whole.failures) == 1
    for step in (8, 11):
        output = tmp_path / f"cut-{step}"
        with pytest.raises(Killed):
            run(source, synthetic, output, settings, save_every=1, stopped=kill_after(step))
        run(source, synthetic, output, settings)
        assert (output / "train.csv").read_text() == (tmp_path / "whole/train.csv").read_text()
        assert (output / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_a_changed_synthetic_image_is_named(source, synthetic, quick, tmp_path):
    run(source, synthetic, tmp_path / "out", quick, stopped=lambda: True)
    Image.fromarray(np.zeros((48, 96, 3), np.uint8)).save(synthetic / "night/a/2.png")
    with pytest.raises(OutputError, match=r"\(synthetic_sha256\): night/a/2\.png \(\d+ bytes there, \d+ now\)"):
        run(source, synthetic, tmp_path / "out", quick)
    assert run(source, synthetic, tmp_path / "out", quick, allow_changed_files=True).finished


# --- what is kept out


def test_a_bad_image_that_is_kept_out_is_left_out(source, synthetic, quick, tmp_path):
    assert len(KEPT_OUT) > 1
    cut(synthetic / f"night/a/{KEPT_OUT[0]}.png")
    result = run(source, synthetic, tmp_path / "out", quick, VALIDATED)
    assert result.finished
    assert len(result.failures) == 1


def test_a_validation_that_fails_saves_the_state_first(source, synthetic, quick, tmp_path):
    """And is made up for when the training goes on."""
    run(source, synthetic, tmp_path / "whole", quick, VALIDATED)
    path = synthetic / f"night/a/{KEPT_OUT[0]}.png"
    content = path.read_bytes()
    cut(path)
    with pytest.raises(DataError, match=path.name):
        run(source, synthetic, tmp_path / "out", quick, VALIDATED, max_failures=0)
    state = torch.load(tmp_path / "out/state.pt")
    assert state["step"] == json.loads((tmp_path / "whole/train.json").read_text())["settings"]["pairs"] // 2
    path.write_bytes(content)
    assert run(source, synthetic, tmp_path / "out", quick, VALIDATED).finished
    for name in ("validation.csv", "train.csv", "model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("validate", ["source", "synthetic"])
def test_held_out_images_that_are_void(source, synthetic, quick, tmp_path, validate):
    for i in KEPT_OUT:
        void(source / f"labels/a/{i}.png")
    with pytest.raises(DataError, match=rf"--holdout 0\.4 keeps out \({len(KEPT_OUT)} images\).* all are void"):
        run(source, synthetic, tmp_path / "out", quick, AdaptSettings(validate=validate, holdout=0.4))
    assert not (tmp_path / "out").exists()


def test_masks_that_hide_everything(source, synthetic, quick, tmp_path):
    mask(synthetic, hidden=True)
    with pytest.raises(DataError, match="synthetic images, with their masks,: has no pixel of a trained class"):
        run(source, synthetic, tmp_path / "out", quick)
    for i in KEPT_OUT:
        (synthetic / f"masks/night/a/{i}.png").unlink()
    with pytest.raises(DataError, match="synthetic images, with their masks,: has no pixel of a trained class"):
        run(source, synthetic, tmp_path / "out", quick, VALIDATED)
    assert not (tmp_path / "out").exists()


# --- estimates


def sky(images):
    """A judge that sees sky (10) everywhere."""
    return np.full(images.shape[:3], 10, np.uint8), np.ones(images.shape[:3], np.float32)


def test_an_estimate_of_void(source, synthetic):
    for i in range(1, 7):
        void(source / f"labels/a/{i}.png")
    (row,) = estimate(sky, open_dataset(None, source), [synthetic], resamples=1, seed=1)
    void(source / "labels/a/0.png")
    with pytest.raises(DataError, match="scored in domain 'night': has no pixel of a trained class"):
        estimate(sky, open_dataset(None, source), [synthetic])
    assert row.as_json(open_dataset(None, source).label_set.names)["miou"] >= 0


def test_an_interval_that_is_not_known(source, synthetic):
    """Of seven images one counts, and the only set that is drawn is without it."""
    for i in range(1, 7):
        void(source / f"labels/a/{i}.png")
    dataset = open_dataset(None, source)
    found = [estimate(sky, dataset, [synthetic], resamples=1, seed=seed)[0] for seed in range(12)]
    rows = [row.as_json(dataset.label_set.names) for row in found]
    assert {row["low"] is None for row in rows} == {True, False}
    assert all(isinstance(row["miou"], float) for row in rows)


def test_one_bad_file_does_not_end_an_estimate(source, synthetic, quick, cli, tmp_path):
    run(source, synthetic, tmp_path / "net", quick)
    cut(synthetic / "night/a/5.png")
    arguments = ("estimate", tmp_path / "net", "--source", source, "--synthetic", synthetic, "--device", "cpu")
    done = cli(*arguments, "--json", "-")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["results"][0]["images"] == 6
    assert "night/a/5.png" in content["failures"][0]
    assert "left out: " in done.stderr
    assert cli(*arguments, "--max-failures", 0).status == 1


def test_a_restart_with_validation_leaves_the_earlier_best(source, synthetic, quick, tmp_path):
    """The weights of the best epoch, and the scores, are in the folder of the new training until it is finished."""
    run(source, synthetic, tmp_path / "out", quick, VALIDATED)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    settings = replace(quick, lr=2e-3)
    run(source, synthetic, tmp_path / "new", settings, VALIDATED)
    with pytest.raises(Killed):
        run(source, synthetic, tmp_path / "out", settings, VALIDATED, restart=True, stopped=kill_after(4))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()} == before
    load_checkpoint(tmp_path / "out")
    assert run(source, synthetic, tmp_path / "out", settings, VALIDATED).finished
    after, new = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("out", "new"))
    assert after == new


def test_targets_that_are_bad_are_left_out_of_the_oracle(source, synthetic, quick, tmp_path):
    target = make_street(tmp_path / "target", count=3, seed=9)
    cut(target / "images/a/1.png")
    result = run(source, synthetic, tmp_path / "out", quick, targets=[open_dataset(None, target)])
    assert result.oracle["results"][0]["images"] == 2
    assert len(result.failures) == 1
