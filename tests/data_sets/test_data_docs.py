"""The examples of docs/data.md are what they say."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from zodi.cli.data import command
from zodi.data import open_dataset

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str, count: int) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == count
    return found


def test_own_label_set_description_and_python(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_image: Callable[..., Path],
    write_label: Callable[..., Path],
) -> None:
    root = tmp_path / "yard"
    write_image(root / "images" / "x.jpg")
    write_label(root / "labels" / "x.png", 3)
    (root / "yard.toml").write_text(blocks("toml", 1)[0])
    (root / "dataset.json").write_text(blocks("json", 1)[0])
    dataset = open_dataset(None, root)
    assert dataset.label_set.name == "yard"
    assert dataset.label_set.names == ("road", "crane", "container")
    assert dataset.label_set.control_colours()[[1, 2, 3]].tolist() == [[128, 64, 128], [153, 153, 153], [70, 70, 70]]

    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks("python", 1)[0], names)
    assert (names["ids"] == 3).all() and (names["train_ids"] == 2).all()


def test_commands_are_understood() -> None:
    lines = [line for block in blocks("sh", 2) for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        program, group, name, *arguments = shlex.split(line)
        assert (program, group) == ("zodi", "data")
        command.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
