"""`zodi adapt` with pairs: options, configuration files, and what is refused."""

import json
import re
import tomllib

import pytest
from conftest import make_street

NET = (
    "--architecture", "deeplabv3plus", "--encoder", "tu-test_efficientnet", "--encoder-weights", "none",
    "--net-option", "decoder_channels=16", "--size", "48x96", "--crop", "32x64", "--batch", "2", "--device", "cpu",
)  # fmt: skip


def test_a_configuration_file_and_what_is_saved_of_it(cli, source, synthetic, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text(
        f'\ufeffsource = "{source}"\nsynthetic = ["{synthetic}"]\narchitecture = "deeplabv3plus"\n'
        'encoder = "tu-test_efficientnet"\nencoder-weights = "none"\nnet-option = ["decoder_channels=16"]\n'
        'size = "48x96"\ncrop = "32x64"\nbatch = 2\niterations = 5\nlr = 0.002\njitter = false\ndevice = "cpu"\n',
        encoding="utf-8",
    )
    one = tmp_path / "one"
    done = cli("adapt", "--config", config, "-o", one, "--iterations", 3, "--json", "-")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 3  # the command line counts more
    settings = json.loads((one / "train.json").read_text())["settings"]
    assert (settings["lr"], settings["jitter"], settings["domains"]) == (0.002, False, ["night"])
    saved = tomllib.loads((one / "config.toml").read_text())
    assert (saved["iterations"], saved["size"], saved["synthetic"]) == (3, "48x96", [str(synthetic)])
    again = cli("adapt", "--config", one / "config.toml", "-o", tmp_path / "two")
    assert again.status == 0, again.stderr
    assert (one / "model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()


def test_a_saved_configuration_of_a_plain_training_with_two_oracles(cli, source, tmp_path):
    """Two values of an option are two values again, and defaults in it are nobody's wish."""
    places = [make_street(tmp_path / name, count=2, seed=4) for name in ("one", "two")]
    oracles = [word for place in places for word in ("--oracle", f"folder={place}")]
    done = cli("adapt", "--source", source, *NET, "--iterations", 1, *oracles, "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    again = cli("adapt", "--config", tmp_path / "out/config.toml", "-o", tmp_path / "again", "--json", "-")
    assert again.status == 0, again.stderr
    assert [row["dataset"] for row in json.loads(again.stdout)["oracle"]["results"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("batches = 3\n", "unknown option 'batches': allowed are .*batch"),
        ("batch = [\n", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_wrong_configuration_files(cli, source, tmp_path, content, message):
    config = tmp_path / "mine.toml"
    if content is not None:
        config.write_text(content)
    done = cli("adapt", "--config", config, "--source", source, "-o", tmp_path / "out")
    assert done.status == 2
    assert re.search(message, " ".join(done.stderr.split()))
    assert not (tmp_path / "out").exists()


def test_values_of_a_file_are_checked_as_those_of_the_command_line(cli, source, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('batch = "many"\n')
    done = cli("adapt", "--config", config, "--source", source, "-o", tmp_path / "out")
    assert done.status == 2
    assert "many" in done.stderr


@pytest.mark.parametrize(
    ("options", "statistics"),
    [
        ((), "synthetic"),
        (("--norm-statistics", "both"), "both"),
        (("--recipe", "reference", "--epochs", 1), "both"),
        (("--recipe", "reference", "--epochs", 1, "--norm-statistics", "synthetic"), "synthetic"),
    ],
)
def test_whose_norm_statistics(cli, source, synthetic, tmp_path, options, statistics):
    steps = () if "--epochs" in options else ("--iterations", 1)
    done = cli("adapt", "--source", source, "--synthetic", synthetic, *NET, *steps, *options, "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    assert json.loads((tmp_path / "out/train.json").read_text())["settings"]["norm_statistics"] == statistics


def test_oracle_on_screen_and_in_json(cli, source, synthetic, tmp_path):
    target = make_street(tmp_path / "target", count=2, seed=4)
    arguments = ("adapt", "--source", source, "--synthetic", synthetic, *NET, "--iterations", 2, "--oracle", target)
    done = cli(*arguments, "-o", tmp_path / "out")
    assert done.status == 0, done.stderr
    assert "oracle only" in done.stdout
    assert "mean IoU" in done.stdout
    again = cli(*arguments, "-o", tmp_path / "out", "--json", "-")
    assert json.loads(again.stdout)["oracle"]["results"][0]["dataset"] == "target"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--validate", "source"), 2, "--validate needs --synthetic or --baseline"),
        (("--norm-statistics", "both"), 2, "--norm-statistics needs --synthetic or --baseline"),
        (("--selection", "synthetic-val"), 2, "--selection needs --synthetic or --baseline"),
        (("--similarity", "3"), 2, "--similarity needs --synthetic or --baseline"),
        (("--oracle-split", "val"), 2, "--oracle-split and --oracle-condition need --oracle"),
        (("--weight-decay", "-1"), 1, "weight_decay is -1.0, allowed is 0 or more"),
        (("--baseline", "source-only", "--selection", "synthetic-val"), 1, "needs the scores of validate synthetic"),
        (("--baseline", "augment", "--holdout", "0"), 1, "holdout is 0.0"),
    ],
)
def test_options_that_do_not_fit(cli, source, tmp_path, options, status, message):
    done = cli("adapt", "--source", source, *NET, "--iterations", 1, "-o", tmp_path / "out", *options)
    assert done.status == status
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_partner_ends_the_command_with_its_name(cli, source, synthetic, tmp_path):
    (synthetic / "night/a/6.png").unlink()
    done = cli("adapt", "--source", source, "--synthetic", synthetic, *NET, "-o", tmp_path / "out")
    assert done.status == 1
    assert "night/a/6.png: is missing" in done.stderr
    assert len(done.stderr.strip().splitlines()[-1:]) == 1


def test_loss_and_class_weights_in_a_configuration_and_its_copy(cli, source, synthetic, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('loss = "cross-entropy+0.5*dice"\nclass-weights = "balanced"\nscale = "0.5,2"\n')
    one, two = tmp_path / "one", tmp_path / "two"
    given = ("--source", source, "--synthetic", synthetic, *NET, "--iterations", 2)
    done = cli("adapt", "--config", config, *given, "-o", one)
    assert done.status == 0, done.stderr
    assert re.search(r"class weights: road \d", done.stderr)
    settings = json.loads((one / "train.json").read_text())["settings"]
    assert (settings["loss"], settings["class_weights"]) == ("cross-entropy+0.5*dice", "balanced")
    assert settings["scale"] == [0.5, 2.0]
    again = cli("adapt", "--config", one / "config.toml", "-o", two)
    assert again.status == 0, again.stderr
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    wrong = cli("adapt", *given, "-o", tmp_path / "three", "--class-weights", "raod=2")
    assert wrong.status == 1
    assert len(wrong.stderr.splitlines()) == 1 and "'raod', which is no class" in wrong.stderr
