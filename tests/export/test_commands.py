"""`export-engines`, `engines` and `transfer --engine` as a user types them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zodi.engines.profile import parse_batch, parse_image_size
from zodi.errors import SettingsError

QUICK = ("--steps", "4", "--batch", "2")


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache of bundles."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "zodi" / "bundles"


@pytest.fixture
def cached(cache, tiny_bundle, tiny_model) -> Path:
    """A cache that holds the tiny model's bundle."""
    from zodi.engines.bundle import default_directory, read_bundle

    directory = default_directory(read_bundle(tiny_bundle).info, "fp32")
    assert directory.is_relative_to(cache)
    return Path(shutil.copytree(tiny_bundle, directory))


def results(output: Path) -> dict[str, np.ndarray]:
    return {p.stem: np.asarray(Image.open(p)).astype(float) for p in sorted((output / "night").rglob("*.png"))}


@pytest.mark.parametrize("engine", ["ort", "openvino"])
def test_the_same_images_from_another_engine(cli, cached, tiny_model, street, tmp_path, engine):
    usual = ("transfer", "--root", street, "--model", tiny_model, *QUICK)
    assert cli(*usual, "-o", tmp_path / "torch").status == 0
    done = cli(*usual, "-o", tmp_path / engine, "--engine", engine)
    assert done.status == 0, done.stderr
    expected, images = results(tmp_path / "torch"), results(tmp_path / engine)
    assert expected.keys() == images.keys() and len(images) == 3
    for key, image in images.items():
        assert image.std() > 10
        assert 10 * np.log10(255**2 / max(np.square(image - expected[key]).mean(), 1e-12)) >= 45
    run = json.loads((tmp_path / engine / "run.json").read_text())
    assert run["domains"]["night"]["settings"]["engine"] == engine
    resumed = cli(*usual, "-o", tmp_path / "torch", "--engine", engine)
    assert resumed.status == 1 and f"engine: 'torch' there, '{engine}' now" in resumed.stderr


def test_a_bundle_needs_no_weights_and_auto_says_what_it_took(cli, cache, tiny_bundle, street, tmp_path):
    done = cli(
        "transfer", "--root", street, "--bundle", tiny_bundle, "--engine", "auto", "-o", tmp_path / "out",
        "--image-size", "32", *QUICK,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    chosen = json.loads((tmp_path / "out/run.json").read_text())["domains"]["night"]["settings"]["engine"]
    assert chosen in ("ort", "openvino") and f"engine: {chosen}, the fastest exact one here" in done.stderr


def test_auto_without_a_bundle_takes_torch_and_says_so(cli, cache, tiny_model, street, tmp_path):
    done = cli("transfer", "--root", street, "--model", tiny_model, "--engine", "auto", "-o", tmp_path / "out", *QUICK)
    assert done.status == 0, done.stderr
    assert f"zodi export-engines --model {tiny_model}" in done.stderr
    assert "engine: torch, the fastest exact one without a bundle" in done.stderr


REFUSED = {
    "no bundle": ([], "zodi export-engines --model {model}"),
    "no bundle in the directory": (["--bundle", "{tmp}/none"], "--bundle {tmp}/none"),
    "a corrupted byte": (["--bundle", "{tmp}/corrupt"], "denoiser.onnx.data is not the file that was written"),
    "missing weights": (["--bundle", "{tmp}/missing"], "vae_decoder.onnx.data is missing"),
    "another model": (["--model", "town", "--bundle", "{bundle}"], "weights of the bundle"),
    "a batch that it is not made for": (["--bundle", "{bundle}", "--batch", "8"], "batches of 1 to 4"),
    "half on the CPU": (["--bundle", "{bundle}", "--precision", "fp16", "--device", "cpu"], "fp16"),
    "torch from a bundle": (["--bundle", "{bundle}", "--engine", "torch"], "torch runs from the weights"),
    "a GPU that is not there": (["--bundle", "{bundle}", "--device", "cuda:99"], "cuda:99"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_one_clear_line(cli, cache, tiny_model, tiny_bundle, street, tmp_path, case):
    arguments, says = REFUSED[case]
    if "corrupt" in str(arguments):
        shutil.copytree(tiny_bundle, tmp_path / "corrupt")
        path = tmp_path / "corrupt/denoiser.onnx.data"
        path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    if "missing" in str(arguments):
        shutil.copytree(tiny_bundle, tmp_path / "missing")
        (tmp_path / "missing/vae_decoder.onnx.data").unlink()
    places = {"tmp": tmp_path, "bundle": tiny_bundle, "model": tiny_model}
    given = [argument.format(**places) for argument in arguments]
    done = cli(
        "transfer", "--root", street, "--model", tiny_model, "--engine", "ort", *QUICK, "-o", tmp_path / "out", *given
    )
    assert done.status == 1, done.stderr
    assert says.format(**places) in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_exporting_again_says_that_all_is_current(cli, cache, tiny_bundle, tiny_model, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    done = cli(
        "export-engines", "--model", tiny_model, "--engine", "onnx", "--image-size", "32x64", "--batch", "1:2:4",
        "--dynamic", "--bundle", tmp_path / "bundle", "--json", "-",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert done.stderr.count("is current") == 5
    assert json.loads(done.stdout)["sizes"] == {"batch": [1, 2, 4], "height": [16, 32, 128], "width": [16, 64, 128]}


def test_engines_from_files_alone(cli, cache, tiny_bundle, tmp_path):
    done = cli("export-engines", "--from-onnx", tiny_bundle, "--engine", "openvino", "--bundle", tmp_path / "there")
    assert done.status == 0, done.stderr
    assert "openvino computes fp32 on cpu" in done.stdout
    shown = cli("engines", "inspect", tmp_path / "there")
    assert shown.status == 0
    assert "engine openvino" in shown.stdout and "denoiser: fp32, opset" in shown.stdout


def test_verify(cli, tiny_bundle, tmp_path):
    done = cli("engines", "verify", tiny_bundle, "--json", "-")
    report = json.loads(done.stdout)
    assert (done.status, report["problems"]) == (0, [])
    assert set(report["engines"]) >= {"ort", "openvino"}
    broken = Path(shutil.copytree(tiny_bundle, tmp_path / "broken"))
    (broken / "denoiser.onnx").unlink()
    (broken / "text_encoder.onnx").write_bytes(b"")
    done = cli("engines", "verify", broken)
    assert done.status == 1
    assert "denoiser.onnx is missing" in done.stderr and "text_encoder.onnx is not the file" in done.stderr
    assert cli("engines", "verify", tmp_path).status == 1


@pytest.mark.slow
def test_the_bundled_model_s_files_are_made_on_first_use(cli, cache, street, tmp_path):
    done = cli("transfer", "--root", street, "--engine", "auto", *QUICK, "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    assert "building the ONNX files of the bundled model, once" in done.stderr
    assert not list(cache.glob("*.tmp"))
    again = cli("transfer", "--root", street, "--engine", "auto", *QUICK, "-o", tmp_path / "again")
    assert again.status == 0 and "building" not in again.stderr


def test_sizes_as_they_are_typed():
    assert parse_batch("4") == (4, 4, 4)
    assert parse_batch("1:4:8") == (1, 4, 8)
    assert parse_image_size(None) is None
    assert parse_image_size("512") == 512
    assert parse_image_size("512x1024") == (512, 1024)
    for wrong in ("0", "8:4:1", "1:2", "x", ""):
        with pytest.raises(SettingsError, match="batch is"):
            parse_batch(wrong)
    for wrong in ("0", "512x", "x512", "512x1024x3"):
        with pytest.raises(SettingsError, match="image size is"):
            parse_image_size(wrong)


ROW = {
    "engine", "precision", "batch", "images_per_s", "ms_per_denoiser_call", "outside_graphs_share", "peak_mib",
    "psnr_db", "ratio_to_diffusers", "matrix_peak_share",
}  # fmt: skip


def test_bench(cli, cache, tiny_bundle, tiny_model, tmp_path):
    np.ones((3, 1024, 1024, 1024), np.uint8)  # 3 GiB that the measured processes never had
    done = cli(
        "bench", "transfer", "--model", tiny_model, "--bundle", tiny_bundle, "--engine", "ort", "--size", "32x64",
        "--steps", "2", "--strength", "0.6", "--rounds", "1", "--threads", "1", "--chart", tmp_path / "chart.png",
        "--json", tmp_path / "bench.json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    rows = {row["engine"]: row for row in report["rows"]}
    assert list(rows) == ["torch", "ort", "diffusers"]
    assert all(set(row) == ROW for row in rows.values())
    assert rows["diffusers"]["ratio_to_diffusers"] == 1 and rows["diffusers"]["psnr_db"] is None
    assert rows["ort"]["psnr_db"] >= 45 and rows["torch"]["psnr_db"] == 100
    assert rows["ort"]["ms_per_denoiser_call"] > 0 and 0 <= rows["ort"]["outside_graphs_share"] < 1
    assert all(100 < row["peak_mib"] < 2500 for row in report["rows"])
    assert {"cpu", "gpus", "platform"} <= set(report["machine"])
    assert "x diffusers" in done.stdout
    assert Image.open(tmp_path / "chart.png").size[0] > 500


def test_bench_leaves_out_engines_without_files_unless_they_are_named(cli, cache, tiny_model):
    bench = (
        "bench", "transfer", "--model", tiny_model, "--size", "32x64", "--steps", "2", "--strength", "0.6",
        "--rounds", "1", "--threads", "1", "--no-peer", "--json", "-",
    )  # fmt: skip
    done = cli(*bench)
    assert done.status == 0, done.stderr
    assert [row["engine"] for row in json.loads(done.stdout)["rows"]] == ["torch"]
    assert "ort: left out, --engine ort runs from a bundle" in done.stderr
    named = cli(*bench, "--engine", "ort")
    assert named.status == 1 and "there is none" in named.stderr and "--image-size 32" in named.stderr


def test_bench_refuses_what_a_bundle_is_not_made_for_before_it_measures(cli, cache, tiny_bundle, tiny_model):
    bench = ("bench", "transfer", "--model", tiny_model, "--bundle", tiny_bundle, "--engine", "ort", "--size", "32x64")
    done = cli(*bench, "--batch", "99")
    assert done.status == 1
    assert "is made for batches of" in done.stderr
    assert "open" not in done.stderr.replace("openvino", "")
