"""A bundle is made for the images that there are, and what does not fit it is found before a run."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from zodi.bundle_sizes import sizes_for_images
from zodi.data.dataset import Sample
from zodi.data.sizes import count_sizes
from zodi.engines.components import load_components
from zodi.engines.profile import Sizes
from zodi.errors import DataError, SettingsError
from zodi.exporting import ExportChoice

BATCH = (1, 2, 4)
QUICK = ("--steps", "4", "--batch", "2", "--image-size", "32")


@pytest.fixture(scope="module")
def info(tiny_model):
    return load_components(str(tiny_model)).info


def resize(street: Path, size: tuple[int, int], *keys: str) -> None:
    """Bring images and labels of a street to (height, width)."""
    for key in keys:
        for kind in ("images", "labels"):
            path = street / kind / f"{key}.png"
            Image.open(path).resize(size[::-1], Image.Resampling.NEAREST).save(path)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({(1024, 2048): 5}, Sizes(BATCH, (32, 32, 32), (64, 64, 64))),
        ({(1080, 1920): 3, (1052, 1914): 1}, Sizes(BATCH, (32, 32, 32), (64, 64, 64))),  # both become one size
        ({(720, 960): 3, (1920, 1080): 2, (1024, 2048): 4}, Sizes(BATCH, (32, 32, 64), (32, 64, 64))),
    ],
)
def test_the_sizes_of_the_images_are_those_of_the_bundle(info, images, expected):
    sizes = sizes_for_images(images, info, None, BATCH, static=None)
    assert sizes == expected
    assert ExportChoice(batch=BATCH, images=images).sizes(info) == expected


def test_what_is_asked_for_besides(info):
    assert sizes_for_images({(600, 800): 1}, info, 64, BATCH, static=True) == Sizes(BATCH, (64,) * 3, (80,) * 3)
    wide = sizes_for_images({(600, 1200): 3, (600, 6000): 1}, info, None, BATCH, static=False)
    assert wide == Sizes(BATCH, (16, 32, 128), (16, 64, 320))
    with pytest.raises(SettingsError, match="3 of 600x1200, transferred at 32x64; 1 of 600x600, transferred at 32x32"):
        sizes_for_images({(600, 1200): 3, (600, 600): 1}, info, None, BATCH, static=True)
    with pytest.raises(SettingsError, match="contradicts --root"):
        ExportChoice((32, 64), images={(600, 800): 1}).sizes(info)
    with pytest.raises(DataError, match="no image of the data set can be read"):
        sizes_for_images({}, info, None, BATCH, static=None)


def test_sizes_are_counted_from_headers(street, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [*sorted((street / "images").rglob("*.png")), tmp_path / "broken.png", tmp_path / "missing.png"]
    assert sum(count_sizes([Sample(path.stem, path, None) for path in paths]).values()) == len(paths) - 2


def test_export_for_a_data_set_and_transfer_of_it(cli, tiny_model, tiny_bundle, street, tmp_path):
    """The command that the refusal prints makes a bundle that takes the images."""
    resize(street, (40, 180), "a/0", "a/1", "a/2")
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    run = ("transfer", "--root", street, "--engine", "ort", "--bundle", bundle, *QUICK, "-o", tmp_path / "out")
    for more in ((), ("--dry-run",)):
        refused = cli(*run, *more)
        assert refused.status == 1 and not (tmp_path / "out").exists()
        assert "takes images of 16x16 to 128x128 (height x width), but 3 of 3 do not fit" in refused.stderr
        assert "3 of 40x180, transferred at 32x144" in refused.stderr
    (command,) = re.findall(r"zodi (export-engines .*)", refused.stderr)
    again = cli(*shlex.split(command), "--engine", "onnx", "--json", tmp_path / "bundle.json")
    assert again.status == 0, again.stderr
    sizes = json.loads((tmp_path / "bundle.json").read_text())["sizes"]
    assert sizes == {"batch": [1, 2, 4], "height": [32, 32, 32], "width": [144, 144, 144]}
    done = cli(*run)
    assert done.status == 0, done.stderr
    assert Image.open(tmp_path / "out/night/a/0.png").size == (144, 32)


def test_a_missing_bundle_is_made_for_the_images_too(cli, tiny_model, street, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = ("transfer", "--root", street, "--model", tiny_model, "--engine", "ort", "-o", tmp_path / "out")
    assert f"--dataset folder --root {street}" in cli(*run).stderr


def test_few_images_of_another_size_are_only_announced(cli, tiny_bundle, street, tmp_path):
    resize(street, (16, 160), "a/1")
    run = ("transfer", "--root", street, "--engine", "ort", "--bundle", tiny_bundle, *QUICK, "-o", tmp_path / "out")
    done = cli(*run)
    assert done.status == 1
    assert "but 1 of 3 do not fit: 1 of 16x160, transferred at 32x320" in done.stderr
    assert "2 transferred, 0 were done already, 1 failed" in done.stdout
    assert "image size is 32x320, the bundle is made for 16x16 to 128x128" in done.stderr
    assert cli(*run, "--max-failures", "0").status == 1


def test_options_that_nothing_would_read_are_refused(cli, tiny_bundle, street):
    done = cli("export-engines", "--split", "train")
    assert done.status == 2 and "say which images of --root" in done.stderr
    done = cli("export-engines", "--from-onnx", tiny_bundle, "--root", street)
    assert done.status == 2 and "--from-onnx takes files as they are" in done.stderr


def test_bench_refuses_a_size_that_the_model_cannot_take(cli, tiny_model):
    done = cli("bench", "transfer", "--model", tiny_model, "--size", "33x65")
    assert done.status == 1
    assert "image size is 33x65: 33 must be a multiple of 16, e.g. 32" in done.stderr
