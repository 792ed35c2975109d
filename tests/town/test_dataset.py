"""The street world on disk: what is written, that it is read back, and what a second run does."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zodi.errors import ZodiError
from zodi.town import render
from zodi.town.dataset import scene_key, scene_seed, write_dataset

SIZE = (64, 128)


def write(directory: Path, **changes: object) -> int:
    settings = {"domain": "clear", "scenes": 3, "seed": 2, "size": SIZE} | changes
    return write_dataset(directory, **settings)  # type: ignore[arg-type]


def state(directory: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_files_hold_the_scenes(tmp_path: Path) -> None:
    seen: list[int] = []
    assert write(tmp_path / "town", progress=seen.append) == 3
    assert seen == [1, 2, 3]
    root = tmp_path / "town"
    keys = [f"town-{2_000_000 + i}" for i in range(3)]
    assert sorted(path.name for path in root.iterdir()) == ["dataset.json", "images", "labels"]
    for kind in ("images", "labels"):
        assert sorted(path.name for path in (root / kind).iterdir()) == [f"{key}.png" for key in keys]
    for i, key in enumerate(keys):
        image, label = render(2_000_000 + i, "clear", SIZE)
        with Image.open(root / "images" / f"{key}.png") as file:
            assert file.mode == "RGB" and np.array_equal(np.asarray(file), image)
        with Image.open(root / "labels" / f"{key}.png") as file:
            assert file.mode == "L" and np.array_equal(np.asarray(file), label)
    assert json.loads((root / "dataset.json").read_text()) == {
        "dataset": "folder", "label_set": "cityscapes", "labels": "train-ids", "name": "town-clear",
        "domain": "clear", "seed": 2, "scenes": 3, "size": [64, 128],
    }  # fmt: skip


def test_two_domains_of_a_seed_have_the_same_keys_and_labels(tmp_path: Path) -> None:
    write(tmp_path / "clear", domain="clear")
    write(tmp_path / "fog", domain="fog")
    clear, fog = state(tmp_path / "clear"), state(tmp_path / "fog")
    assert set(clear) == set(fog) and len(clear) == 7
    for name in clear:
        assert (clear[name][0] == fog[name][0]) == name.startswith("labels"), name


def test_keys_are_the_seeds_that_render_takes() -> None:
    assert scene_key(0, 123) == "town-000123" and scene_seed(0, 123) == 123
    assert scene_key(4, 123) == "town-4000123" and scene_seed(4, 123) == 4_000_123


def test_a_broken_run_is_completed_without_rendering_again(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    root = tmp_path / "town"
    with pytest.raises(KeyboardInterrupt):
        write(root, progress=stop)
    assert not (root / "dataset.json").exists()
    before = state(root)
    assert write(root) == 1
    after = state(root)
    kept = [name for name in before if name.startswith(("images", "labels"))]
    assert len(kept) == 4 and all(before[name] == after[name] for name in kept)
    write(tmp_path / "whole")
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in state(tmp_path / "whole").items()
    }


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    write(tmp_path)
    before = state(tmp_path)
    (tmp_path / "labels" / "town-2000001.png").unlink()
    assert write(tmp_path) == 1
    assert {name: content for name, (content, _) in state(tmp_path).items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert write(tmp_path) == 0


@pytest.mark.parametrize(
    "change",
    [{"domain": "fog"}, {"seed": 3}, {"scenes": 4}, {"size": (64, 130)}],
    ids=lambda change: next(iter(change)),
)
def test_another_data_set_is_refused_and_left_as_it_is(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path)
    before = state(tmp_path)
    with pytest.raises(ZodiError, match=next(iter(change))):
        write(tmp_path, **change)
    assert state(tmp_path) == before


def test_foreign_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ZodiError, match=r"notes\.txt"):
        write(tmp_path)
    with pytest.raises(ZodiError, match="is a file"):
        write(tmp_path / "notes.txt")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "dataset.json").write_text("[1]")
    with pytest.raises(ZodiError, match="cannot be read"):
        write(tmp_path / "odd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "odd"]


@pytest.mark.parametrize(
    ("change", "given"),
    [({"scenes": 0}, "0"), ({"scenes": 1_000_001}, "1000001"), ({"domain": "dusk"}, "dusk"), ({"size": (8, 8)}, "8x8")],
)
def test_wrong_values_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], given: str
) -> None:
    with pytest.raises(ZodiError, match=given):
        write(tmp_path / "town", **change)
    assert not (tmp_path / "town").exists()
