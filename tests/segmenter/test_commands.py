"""`zodi adapt` and `zodi evaluate` as a user has them."""

import csv
import json

import numpy as np
import pytest
from conftest import make_street
from PIL import Image

ADAPT = (
    "--architecture", "DeepLabV3Plus", "--encoder", "tu-test_efficientnet", "--encoder-weights", "none",
    "--net-option", "decoder_channels=16", "--size", "48x96", "--crop", "32x64", "--batch", "2", "--device", "cpu",
)  # fmt: skip


def test_train_then_evaluate(cli, data, tmp_path):
    model = tmp_path / "model"
    done = cli("adapt", "--source", data, "-o", model, *ADAPT, "--iterations", 4, "--json", "-")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["finished"]
    assert content["steps"] == 4
    assert "4/4" in done.stderr
    assert len(list(csv.DictReader((model / "train.csv").open()))) == 4
    again = cli("adapt", "--root", data, "-o", model, *ADAPT, "--iterations", 4)
    assert again.status == 0

    second = make_street(tmp_path / "second", count=2, seed=5)
    scored = cli("evaluate", model, data, f"folder={second}", "-o", tmp_path / "out", "--overlays", 2, "--json", "-")
    assert scored.status == 0, scored.stderr
    content = json.loads(scored.stdout)
    assert list(content) == ["model", "scale", "results"]
    assert content["scale"] == "48x96"
    assert [list(result) for result in content["results"]] == [
        ["dataset", "condition", "images", "miou", "pixel_accuracy", "iou"]
    ] * 2
    assert [(r["dataset"], r["condition"], r["images"]) for r in content["results"]] == [
        ("data", None, 7), ("second", None, 2),
    ]  # fmt: skip
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == content
    pictures = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert pictures == [
        "confusion-data.png", "confusion-second.png",
        "overlays/data/a_0.png", "overlays/data/a_1.png", "overlays/second/a_0.png", "overlays/second/a_1.png",
    ]  # fmt: skip
    shown = np.asarray(Image.open(tmp_path / "out/overlays/data/a_0.png"))
    assert shown.shape == (48, 3 * 96 + 8, 3)
    image = np.asarray(Image.open(data / "images/a/0.png"))
    assert np.array_equal(shown[:, :96], image)
    assert len(np.unique(np.asarray(Image.open(tmp_path / "out/confusion-data.png").convert("L")))) > 10


def test_what_is_wrong_with_a_data_set_is_shown_first(cli, data, tmp_path):
    (data / "images/a/x.heic").write_bytes(b"x")
    model = tmp_path / "model"
    for command in (
        ("adapt", "--source", data, "-o", model, *ADAPT, "--iterations", 1),
        ("evaluate", model, data, "-o", tmp_path / "out"),
    ):
        done = cli(*command)
        assert done.status == 0, done.stderr
        assert done.stderr.startswith(f"note: {data}/images/a/x.heic: is left out, .heic files are not read here")


def test_a_name_too_long_for_an_overlay_costs_that_alone(cli, data, checkpoint, tmp_path):
    for kind in ("images", "labels"):
        (data / kind / ("x" * 200)).mkdir()
        (data / kind / "a/0.png").rename(data / kind / ("x" * 200) / f"{'y' * 200}.png")
    done = cli("evaluate", checkpoint, data, "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    assert done.stderr.count("left out: ") == 1 and len(list((tmp_path / "out/overlays").rglob("*.png"))) == 6


def test_the_table_says_per_cent_and_scale(cli, data, checkpoint):
    shown = cli("evaluate", checkpoint, "--root", data)
    assert shown.status == 0, shown.stderr
    assert "scale 32x64, IoU in %" in shown.stdout
    assert "pixel accuracy" in shown.stdout
    for name in ("road", "traffic light", "bicycle", "mean IoU"):
        assert name in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("adapt",), 2, "--source"),
        (("adapt", "--source", "a", "--root", "b"), 2, "give one of them"),
        (("adapt", "--source", "a", "--net-option", "x"), 2, "not NAME=VALUE"),
        (("adapt", "--source", "nowhere"), 1, "no such directory"),
        (("adapt", "--source", "nowhere", "--epochs", "2", "--iterations", "3"), 1, "exactly one of the two"),
        (("adapt", "--source", "nowhere", "--recipe", "reference", "--iterations", "3"), 1, "schedule is per epoch"),
        (("evaluate", "model"), 2, "--root"),
        (("evaluate", "nowhere", "nowhere"), 1, "no such directory"),
        (("evaluate", "nowhere", "data", "--scales", "one"), 2, "not a list of factors"),
        (("evaluate", "nowhere", "data", "--scale", "large"), 2, "not a size"),
    ],
)
def test_mistakes(cli, tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    outcome = cli(*arguments)
    assert outcome.status == status
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_missing_checkpoint(cli, data, tmp_path):
    outcome = cli("evaluate", tmp_path / "nothing", data)
    assert outcome.status == 1
    assert "model.json: no such file: a checkpoint is a directory with" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
