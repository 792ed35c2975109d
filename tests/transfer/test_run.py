"""Whole runs on a tiny real model: determinism, resume, failures as rows."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import make_street
from PIL import Image

from zodi.api import ModelChoice, estimate_transfer, run_transfer
from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.errors import DataError, OutputError, SettingsError
from zodi.transfer.manifest import read_rows
from zodi.transfer.pipeline import draw_noise, image_seed
from zodi.transfer.settings import TransferSettings

NIGHT, FOG = PRESETS["night"], PRESETS["fog"]
QUICK = TransferSettings(batch=2, steps=4)


def transfer(root: Path, output: Path, model: Path, domains=(NIGHT,), settings=QUICK, **more):
    return run_transfer(
        open_dataset("folder", root), output, domains, model=ModelChoice(str(model)), settings=settings, **more
    )


def images(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*.png"))}


def test_results_do_not_depend_on_neighbours_order_or_position(tiny_model, tmp_path):
    make_street(tmp_path / "five", count=5)
    transfer(tmp_path / "five", tmp_path / "all", tiny_model, settings=TransferSettings(batch=4, steps=4))
    whole = images(tmp_path / "all")
    assert len(whole) == 5
    assert len(set(whole.values())) == 5
    for keep in ("0", "3", "4"):
        root = tmp_path / f"only{keep}"
        shutil.copytree(tmp_path / "five", root)
        for path in root.rglob("*.png"):
            if path.stem != keep:
                path.unlink()
        transfer(root, tmp_path / f"out{keep}", tiny_model, settings=TransferSettings(batch=4, steps=4))
        assert images(tmp_path / f"out{keep}") == {f"night/a/{keep}.png": whole[f"night/a/{keep}.png"]}


def test_many_domains_equal_single_runs(tiny_model, street, tmp_path):
    transfer(street, tmp_path / "both", tiny_model, (NIGHT, FOG))
    transfer(street, tmp_path / "night", tiny_model, (NIGHT,))
    transfer(street, tmp_path / "fog", tiny_model, (FOG,))
    assert images(tmp_path / "both") == images(tmp_path / "night") | images(tmp_path / "fog")
    assert len(images(tmp_path / "both")) == 6


def test_tree_manifest_and_run_file(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    result = transfer(street, output, tiny_model)
    assert (result.progress.done, result.progress.failed, result.interrupted) == (3, 0, None)
    assert {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()} == {
        "README.md", "manifest.jsonl", "run.json", "night/a/0.png", "night/a/1.png", "night/a/2.png",
    }  # fmt: skip
    assert Image.open(output / "night/a/0.png").size == (64, 32)
    rows = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == ["a/0", "a/1", "a/2"]
    assert rows[0]["seed"] == image_seed(0, "night", "a/0")
    assert json.loads((output / "run.json").read_text())["domains"]["night"]["settings"]["steps"] == 4


def test_resume_makes_only_what_is_missing_or_damaged(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    assert transfer(street, output, tiny_model, limit=2).progress.done == 2
    before = images(output)
    (output / "night/a/0.png").write_bytes(b"damaged")
    progress = transfer(street, output, tiny_model).progress
    assert (progress.done, progress.skipped) == (2, 1)
    assert before.items() <= images(output).items()
    assert transfer(street, output, tiny_model).progress.skipped == 3


def test_resume_notices_a_changed_source(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    transfer(street, output, tiny_model)
    Image.open(street / "images/a/0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(street / "images/a/1.png")
    assert transfer(street, output, tiny_model).progress.done == 1


def test_a_torn_manifest_line_costs_one_image(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    transfer(street, output, tiny_model)
    manifest = output / "manifest.jsonl"
    whole = manifest.read_bytes()
    expected = images(output)
    manifest.write_bytes(whole[:-40])
    assert transfer(street, output, tiny_model).progress.done == 1
    assert images(output) == expected
    assert len(manifest.read_text().splitlines()) == 3


def test_other_settings_are_refused_and_restart_takes_them(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    transfer(street, output, tiny_model)
    before = images(output)
    other = TransferSettings(batch=2, steps=4, guidance=3.0)
    with pytest.raises(OutputError, match=r"guidance: 9.0 there, 3.0 now.*--restart"):
        transfer(street, output, tiny_model, settings=other)
    assert images(output) == before
    assert transfer(street, output, tiny_model, settings=other, restart=True).progress.done == 3
    assert images(output) != before


def test_another_domain_may_join_an_output(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    transfer(street, output, tiny_model, (NIGHT,))
    transfer(street, output, tiny_model, (FOG,))
    assert len(read_rows(output, {})) == 6
    assert set(json.loads((output / "run.json").read_text())["domains"]) == {"night", "fog"}


def test_a_bad_image_is_a_row_and_the_run_goes_on(tiny_model, street, tmp_path):
    path = street / "images/a/1.png"
    path.write_bytes(path.read_bytes()[:100])
    output = tmp_path / "out"
    progress = transfer(street, output, tiny_model).progress
    assert (progress.done, progress.failed) == (2, 1)
    row = read_rows(output, {})["night", "a/1"]
    assert row.status == "failed"
    assert "1.png" in row.error
    with pytest.raises(DataError, match="max-failures"):
        transfer(street, tmp_path / "strict", tiny_model, max_failures=0)


def test_two_runs_on_one_output(tiny_model, street, tmp_path):
    from zodi.transfer.manifest import Manifest

    with Manifest(tmp_path / "out" / "manifest.jsonl"), pytest.raises(OutputError, match="another run"):
        transfer(street, tmp_path / "out", tiny_model)


def test_other_seeds_and_domains_draw_other_noise():
    seeds = {image_seed(s, d, k, a) for s in (0, 1) for d in ("night", "fog") for k in ("a", "b") for a in (0, 1)}
    assert len(seeds) == 16
    noise = draw_noise([1, 2], (4, 2, 2), steps=3)
    assert noise.shape == (5, 2, 4, 2, 2)
    assert (noise[:, 0] == draw_noise([1], (4, 2, 2), steps=3)[:, 0]).all()
    assert not (noise[:, 0] == noise[:, 1]).any()


def test_noise_is_drawn_in_the_documented_order():
    import torch

    generator = torch.Generator().manual_seed(7)
    draws = [torch.randn((4, 3, 5), generator=generator) for _ in range(4)]
    assert torch.equal(draw_noise([7], (4, 3, 5), steps=2)[:, 0], torch.stack(draws))


def test_preview_and_estimate(tiny_model, street, tmp_path):
    transfer(street, tmp_path / "out", tiny_model, preview=tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (3 * 64 + 2 * 4, 16 + 3 * (32 + 4))
    estimate = estimate_transfer(
        open_dataset("folder", street), [NIGHT, FOG], model=ModelChoice(str(tiny_model)), settings=QUICK
    )
    assert (estimate.images, estimate.results, estimate.size) == (3, 6, (32, 64))
    assert estimate.bytes > 6 * 1000
    assert estimate.seconds > 0


def test_a_domain_given_twice(tiny_model, street, tmp_path):
    with pytest.raises(SettingsError, match="twice"):
        transfer(street, tmp_path / "out", tiny_model, (NIGHT, NIGHT))
