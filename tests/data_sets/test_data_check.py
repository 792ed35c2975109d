"""`zodi data check` and `zodi data town`: what they print, write and return."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from zodi.cli.data import command
from zodi.data import open_dataset
from zodi.data.check import check_dataset

Write = Callable[..., Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], terminal_width=200)


@pytest.fixture
def broken(camvid: Path, write_image: Write, write_label: Write) -> Path:
    """One sound pair (b), one of another size (c), and six problems."""
    (camvid / "images" / "a.png").write_bytes((camvid / "images" / "a.png").read_bytes()[:60])  # label still counts
    write_image(camvid / "images" / "c.png", (10, 4))
    write_label(camvid / "labels" / "c.png", np.full((10, 4), 5, np.uint8))
    for name, value in (("d", 12), ("e", 3), ("f", 3)):
        write_image(camvid / "images" / f"{name}.png")
        write_label(camvid / "labels" / f"{name}.png", value)
    write_label(camvid / "labels" / "e.png", np.full((6, 9), 3, np.uint8))
    write_label(camvid / "labels" / "f.png", np.full((6, 8), 3, np.uint8), format="JPEG")
    write_image(camvid / "images" / "[red]g[/red].png")
    write_label(camvid / "labels" / "h.png", 3)
    return camvid


PROBLEMS = {
    "images/[red]g[/red].png": "has no label",
    "labels/h.png": "has no image",
    "images/a.png": "cannot be decoded",
    "labels/d.png": "does not list the ids 12 (48 pixels)",
    "labels/e.png": "the label is 6x9",
    "labels/f.png": "is a JPEG file",
}


def test_a_sound_data_set(camvid: Path) -> None:
    result = run("check", "--dataset", "camvid", "--root", camvid)
    assert result.exit_code == 0, result.output
    for text in ("3 images", "6x8: 3 images", "33.33", "absent: sky, building, pole, pavement", "no problems"):
        assert text in result.output


def test_every_problem_is_found(broken: Path) -> None:
    report = check_dataset(open_dataset("camvid", broken, strict=False))
    assert {str(p.path.relative_to(broken)) for p in report.problems} == set(PROBLEMS)
    for problem in report.problems:
        assert PROBLEMS[str(problem.path.relative_to(broken))] in problem.message
        assert str(problem.path) not in problem.message and "\n" not in problem.message
    assert report.sizes == {(6, 8): 5, (10, 4): 1}
    # sound labels: a (48 pixels of road), b (48 of tree), c (40 of tree)
    assert report.classes["road"] == pytest.approx(48 / 136) and report.classes["tree"] == pytest.approx(88 / 136)
    assert report.void_share == 0 and "sky" in report.absent and "road" not in report.absent


@pytest.mark.parametrize("workers", [1, 3])
def test_json(broken: Path, tmp_path: Path, workers: int) -> None:
    arguments = ("check", "--dataset", "camvid", "--root", broken, "--workers", workers)
    result = run(*arguments, "--json", tmp_path / "report.json")
    assert result.exit_code == 1
    content = json.loads((tmp_path / "report.json").read_text())
    assert list(content) == [
        "dataset", "root", "split", "condition", "labels", "label_set", "images", "sizes", "classes", "void_share",
        "problems", "notes",
    ]  # fmt: skip
    assert (content["dataset"], content["labels"], content["label_set"]) == ("camvid", "ids", "camvid")
    assert content["images"] == 7 and content["split"] is None and content["condition"] is None
    assert content["sizes"][0] == {"height": 6, "width": 8, "images": 5}
    assert sum(content["classes"].values()) + content["void_share"] == pytest.approx(1)
    assert [str(Path(p["path"]).relative_to(broken)) for p in content["problems"]] == list(PROBLEMS)
    for problem in content["problems"]:  # on screen too, with the brackets of the path
        assert f"{problem['path']}: {problem['message']}" in result.stdout
    alone = run(*arguments, "--json", "-")
    assert json.loads(alone.stdout) == content and alone.exit_code == 1


def test_as_a_process(broken: Path, camvid: Path) -> None:
    def process(*arguments: object) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "zodi.cli", "data", "check", *map(str, arguments)]
        return subprocess.run(call, capture_output=True, text=True, check=False)

    bad = process("--dataset", "camvid", "--root", broken, "--json", "-")
    assert bad.returncode == 1 and len(json.loads(bad.stdout)["problems"]) == 6 and bad.stderr == ""
    missing = process("--dataset", "camvid", "--root", broken / "none")
    assert missing.returncode == 1 and missing.stdout == "" and missing.stderr.count("\n") == 1
    assert process("--dataset", "camvid").returncode == 2
    assert process("--dataset", "kitti", "--root", broken).returncode == 2


def test_progress_counts_every_sample(camvid: Path) -> None:
    seen: list[int] = []
    check_dataset(open_dataset("camvid", camvid), workers=2, progress=seen.append)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["town", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from zodi.cli.data import command\n"
        f"try: command({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'PIL', 'torch', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]" and "Usage" in result.stdout


def test_town_is_a_sound_folder_that_describes_itself(tmp_path: Path) -> None:
    made = run("town", tmp_path / "town", "--scenes", 2, "--seed", 1, "--size", "64x128")
    assert made.exit_code == 0, made.output
    assert f"2 scenes in {tmp_path / 'town'}" in made.output
    checked = run("check", "--root", tmp_path / "town", "--json", "-")
    assert checked.exit_code == 0, checked.output
    content = json.loads(checked.stdout)
    assert content["images"] == 2 and content["sizes"] == [{"height": 64, "width": 128, "images": 2}]
