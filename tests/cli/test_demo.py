"""`zodi demo`: every step runs, what is left can be used, and a second run does nothing again."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from zodi.cli.demo import PLANS, make_steps


def test_the_steps_are_the_commands_of_the_method():
    steps = make_steps(Path("d"), "fog", 3, PLANS["full"], bundle=True, half=True)
    names = [step.arguments[0] for step in steps]
    assert names == [
        "data",
        "data",
        "export-engines",
        "transfer",
        *["adapt"] * 3,
        *["evaluate"] * 3,
        "export-segmenter",
        "bench",
    ]
    assert len({step.line for step in steps}) == len(steps)
    trainings = [step.arguments for step in steps if step.arguments[0] == "adapt"]
    budgets = {tuple(a[a.index("--iterations") :][:10]) for a in trainings}
    assert len(budgets) == 1  # the same steps, batch, learning rate and seed
    assert not any("d/fog" in a for arguments in trainings for a in arguments)  # no training sees the target
    assert "export-engines" not in [
        s.arguments[0] for s in make_steps(Path("d"), "fog", 3, PLANS["full"], bundle=False, half=False)
    ]


def test_source_and_target_scenes_differ():
    for seed in range(3):
        steps = make_steps(Path("d"), "night", seed, PLANS["quick"], bundle=True, half=True)
        seeds = [step.arguments[step.arguments.index("--seed") + 1] for step in steps[:2]]
        assert len(set(seeds)) == 2


def test_an_unknown_domain(cli, tmp_path):
    done = cli("demo", "--domain", "desert", "-o", tmp_path / "demo")
    assert done.status == 2
    assert "'desert' is not one of night, snow, rain, fog, game" in done.stderr
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quick_demo(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "demo"
    done = cli("demo", "--quick", "-o", out, "--domain", "snow", "--seed", 1)
    assert done.status == 0, done.stderr[-2000:]
    content = json.loads((out / "demo.json").read_text())
    assert list(content) == ["seconds", "domain", "seed", "miou", "segmenter", "report"]
    assert list(content["miou"]) == ["source_only", "augment", "adapted"]
    assert all(0 <= value <= 1 for value in content["miou"].values())
    assert (content["domain"], content["seed"]) == ("snow", 1)
    assert Path(content["segmenter"]).is_file()
    with Image.open(out / "gallery.png") as gallery:
        assert gallery.width > 4 * 256 and gallery.height > 8 * 128
    page = Path(content["report"]).read_text()
    assert page.count('class="slider"') >= 12 + 6
    assert "zodi transfer --root" in page
    assert len(re.findall("done before", done.stderr)) == 0
    again = cli("demo", "--quick", "-o", out, "--domain", "snow", "--seed", 1, "--json", "-")
    assert json.loads(again.stdout) == content
    assert len(re.findall("done before", again.stderr)) == 12
