"""`zodi transfer` as a user types it: what works, and one clear line for every mistake."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_street
from PIL import Image

QUICK = ("--steps", "4", "--batch", "2")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_its_json_and_its_resume(cli, tiny_model, street, tmp_path):
    command = ("transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK, "--json", "-")
    first = cli(*command)
    assert (first.status, json.loads(first.stdout)["done"]) == (0, 3), first.stderr
    assert "3 transferred, 0 were done already, 0 failed" in first.stderr
    again = json.loads(cli(*command).stdout)
    assert (again["done"], again["skipped"], again["total"]) == (0, 3, 3)


def test_camvid_layout_and_an_own_domain(cli, tiny_model, tmp_path):
    root = make_street(tmp_path / "camvid", count=2)
    (root / "dataset.json").unlink()
    for path in (root / "labels").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) % 12).save(path)
    (tmp_path / "dusk.toml").write_text('prompt = "driving at dusk"\nstrength = 0.5\n')
    done = cli(
        "transfer", "--dataset", "camvid", "--root", root, "--model", tiny_model, "-o", tmp_path / "out", *QUICK,
        "--domain", "night", "--domain", tmp_path / "dusk.toml", "--preview", tmp_path / "sheet.png",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert {p.parent.parent.name for p in (tmp_path / "out").rglob("*.png")} == {"night", "dusk"}
    assert (tmp_path / "sheet.png").is_file()


def test_dry_run_writes_nothing(cli, tiny_model, street, tmp_path):
    done = cli(
        "transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK, "--dry-run", "--json", "-"
    )
    assert done.status == 0, done.stderr
    assert {"images", "results", "disk_bytes", "hours"} <= set(json.loads(done.stdout))
    assert not (tmp_path / "out").exists()


def test_dry_run_of_a_shard_counts_its_share(cli, tiny_model, tmp_path):
    run = (
        "transfer",
        "--root",
        make_street(tmp_path / "in", count=9),
        "--model",
        tiny_model,
        "-o",
        tmp_path / "out",
        *QUICK,
    )
    shares = [json.loads(cli(*run, "--shard", f"{i}/2", "--dry-run", "--json", "-").stdout)["images"] for i in range(2)]
    assert sum(shares) == 9 and min(shares) > 0


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def label(root: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(root / "labels/a/0.png")


BAD_DATA = {  # what is done to the data set, and what the message must hold
    "truncated image": (lambda root: truncate(root / "images/a/0.png"), "images/a/0.png"),
    "truncated label": (lambda root: truncate(root / "labels/a/0.png"), "labels/a/0.png"),
    "label of another size": (lambda root: label(root, np.full((24, 48), 7, np.uint8)), "48x96"),
    "16-bit label": (lambda root: label(root, np.full((48, 96), 7, np.uint16)), "8 bits"),
    "colour label where ids are stated": (lambda root: label(root, np.zeros((48, 96, 3), np.uint8)), "colours"),
    "unknown id": (lambda root: label(root, np.full((48, 96), 77, np.uint8)), "77"),
    "JPEG label": (
        lambda root: Image.new("L", (96, 48)).save(root / "labels/a/0.png", format="JPEG"),
        "JPEG",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_a_bad_image_fails_alone(cli, tiny_model, street, tmp_path, case):
    spoil, says = BAD_DATA[case]
    spoil(street)
    done = cli("transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK)
    assert done.status == 1
    assert "2 transferred, 0 were done already, 1 failed" in done.stdout
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1 and "night/a/0" in failed[0] and says in failed[0], done.stderr
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def drop(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def model_without(name: str):
    def change(model: Path) -> None:
        drop(model / name)

    return change


def change_json(file: str, **values):
    def change(model: Path) -> None:
        table = json.loads((model / file).read_text())
        (model / file).write_text(json.dumps({k: v for k, v in (table | values).items() if v is not None}))

    return change


BAD_MODEL = {
    "no ControlNet": (model_without("controlnet"), "--controlnet"),
    "no UNet": (model_without("unet"), "unet"),
    "no index": (model_without("model_index.json"), "model_index.json"),
    "SDXL": (change_json("model_index.json", _class_name="StableDiffusionXLPipeline"), "SDXL"),
    "damaged weights": (lambda m: truncate(m / "unet/diffusion_pytorch_model.safetensors"), "unet"),
    "unknown key in zodi.json": (change_json("zodi.json", imagesize=3), "unknown key 'imagesize'"),
    "guidance that is no number": (change_json("zodi.json", guidance=True), "guidance = True is not a positive number"),
    "guidance of a domain that is no number": (
        change_json("zodi.json", domain_guidance={"night": "4"}),
        "domain_guidance = {'night': '4'} is not an object of positive numbers",
    ),
    "pickled weights only": (
        lambda m: (m / "vae/diffusion_pytorch_model.safetensors").rename(m / "vae/diffusion_pytorch_model.bin"),
        "safetensors",
    ),
    "a ControlNet of another model": (
        change_json("controlnet/config.json", cross_attention_dim=24),
        "controlnet",
    ),
    "a prediction type that is not supported": (
        change_json("scheduler/scheduler_config.json", prediction_type="sample"),
        "epsilon and v_prediction",
    ),
}


@pytest.mark.parametrize("case", BAD_MODEL)
def test_a_bad_model_is_refused(cli, tiny_model, street, tmp_path, case):
    spoil, says = BAD_MODEL[case]
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    spoil(model)
    done = cli("transfer", "--root", street, "--model", model, "-o", tmp_path / "out", *QUICK)
    check_refusal(done, tmp_path / "out", says, status=1)


BAD_USE = {  # arguments after the usual ones, exit status, what the message must hold
    "missing directory": (["--root", "{tmp}/nowhere"], 1, "nowhere"),
    "empty set": (["--root", "{tmp}/empty", "--labels", "ids", "--label-set", "cityscapes"], 1, "empty"),
    "folder that does not say what its labels are": (
        ["--dataset", "folder", "--root", "{tmp}/unstated"],
        1,
        "--labels",
    ),
    "folder that does not say what it is": (["--root", "{tmp}/unstated"], 1, "--dataset"),
    "missing partner": (["--root", "{tmp}/unpaired"], 1, "a/1"),
    "unknown domain": (["--domain", "dusk"], 1, "allowed are night, snow, rain, fog, game"),
    "domain file that is not there": (["--domain", "dusk.toml"], 1, "cannot be read"),
    "unknown key in a domain file": (["--domain", "{tmp}/typo.toml"], 1, "unknown key 'strenght'"),
    "one domain twice": (["--domain", "fog", "--domain", "fog"], 1, "twice"),
    "strength 0": (["--strength", "0"], 1, "0 < strength < 1"),
    "strength 1": (["--strength", "1"], 1, "0 < strength < 1"),
    "strength not a number": (["--strength", "nan"], 1, "0 < strength < 1"),
    "strength so small that no step remains": (["--strength", "0.01"], 1, "no step"),
    "steps that do not divide 1000": (["--steps", "30"], 1, "divide"),
    "eta above 1": (["--eta", "2"], 1, "0 (deterministic) to 1"),
    "negative guidance": (["--guidance", "-1"], 1, "0 to 100"),
    "size that the model cannot take": (["--image-size", "20"], 1, "multiples of 16: the nearest is 16"),
    "model that is nowhere": (["--model", "{tmp}/no-model"], 1, "no such directory"),
    "output inside the input": (["-o", "{street}/images/out"], 1, "inside the data set"),
    "output is a file": (["-o", "{tmp}/typo.toml"], 1, "is a file"),
    "output holds something else": (["-o", "{tmp}/unstated"], 1, "choose another -o"),
    "device that is not there": (["--device", "cuda:99"], 1, "cuda:99"),
    "device of another kind": (["--device", "abacus"], 1, "allowed are auto, cpu, cuda"),
    "fp16 on the CPU": (["--device", "cpu", "--precision", "fp16"], 1, "--precision fp32"),
    "unknown label set": (["--label-set", "kitti"], 1, "allowed are cityscapes, camvid"),
    "unknown data set": (["--dataset", "kitti"], 2, "kitti"),
    "unknown engine": (["--engine", "warp"], 2, "warp"),
    "batch of nothing": (["--batch", "0"], 2, "0"),
    "palette": (["--palette", "rainbow"], 2, "rainbow"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_wrong_use_is_one_clear_line(cli, tiny_model, street, tmp_path, case):
    arguments, status, says = BAD_USE[case]
    for kind in ("images", "labels"):
        (tmp_path / "empty" / kind).mkdir(parents=True)
    shutil.copytree(street, tmp_path / "unstated")
    (tmp_path / "unstated/dataset.json").unlink()
    shutil.copytree(street, tmp_path / "unpaired")
    (tmp_path / "unpaired/labels/a/1.png").unlink()
    (tmp_path / "typo.toml").write_text('prompt = "x"\nstrenght = 0.5\n')
    before = snapshot(tmp_path)
    usual = ["--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK]
    given = [argument.format(tmp=tmp_path, street=street) for argument in arguments]
    done = cli("transfer", *usual, *given)
    check_refusal(done, tmp_path / "out", says, status)
    assert snapshot(tmp_path) == before


def check_refusal(done, output: Path, says: str, status: int) -> None:
    assert done.status == status, done.stderr
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not output.exists()


def test_output_that_cannot_be_written(cli, tiny_model, street):
    done = cli("transfer", "--root", street, "--model", tiny_model, "-o", "/proc/zodi-out", *QUICK)
    check_refusal(done, Path("/proc/zodi-out"), "cannot be written", status=1)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_between_batches(tiny_model, tmp_path, number, status):
    make_street(tmp_path / "many", count=60)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "zodi.cli", "transfer", "--root", tmp_path / "many", "--model", tiny_model]
    process = subprocess.Popen([*command, "-o", output, "--batch", "1"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(output.rglob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=60) == status
    rows = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    assert 0 < len(rows) < 60
    assert {f"{row['key']}.png" for row in rows} == {
        p.relative_to(output / "night").as_posix() for p in output.rglob("*.png")
    }
    assert not list(output.rglob("*.tmp"))


def test_what_is_wrong_with_the_data_set_is_shown_before_the_run(cli, tiny_model, street, tmp_path):
    (street / "images/a/x.heic").write_bytes(b"x")
    for i in range(20):
        Image.new("L", (96, 48)).save(street / f"labels/a/alone-{i}.png")
    run = ("transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK)
    for done in (cli(*run, "--dry-run"), cli(*run)):
        assert done.status == 0
        notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
        assert [note.partition(": ")[2].partition(": ")[0] for note in notes] == [
            str(street / "labels/a/alone-0.png"), str(street / "images/a/x.heic"),
        ]  # fmt: skip
        assert "has no image" in notes[0] and notes[0].endswith("(19 more like it)")


def test_syntax_of_web_uis_in_a_prompt_is_told_once(cli, tiny_model, street, tmp_path):
    toml = tmp_path / "dusk.toml"
    toml.write_text('\ufeffprompt = "driving at night, (snow:1.4), <lora:x:1>"\nstrength = 0.5\n', encoding="utf-8")
    run = ("transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK, "--domain", toml)
    done = cli(*run)
    assert done.stderr.count("'(snow:1.4)' in the prompt is not parsed") == 1, done.stderr
    assert "not parsed" not in cli(*run[:-2], "--domain", "night").stderr


def test_a_dry_run_passes_over_what_cannot_be_read(cli, tiny_model, street, tmp_path):
    run = ("transfer", "--root", street, "--model", tiny_model, "-o", tmp_path / "out", *QUICK, "--dry-run")
    (street / "images/a/0.png").write_bytes(b"no image")
    assert cli(*run).status == 0
    for i in (1, 2):
        (street / f"images/a/{i}.png").write_bytes(b"no image")
    done = cli(*run)
    assert done.status == 1 and "a/0.png: is empty, truncated or not an image" in done.stderr
