"""Shards, output sizes, status, verification and the data card of whole runs."""

import errno
import fcntl
import json
from pathlib import Path

import pytest
from conftest import make_street
from PIL import Image

from zodi.api import ModelChoice, run_transfer
from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.errors import OutputError
from zodi.transfer.items import in_shard
from zodi.transfer.manifest import Manifest, Row, manifest_name, read_rows
from zodi.transfer.settings import TransferSettings
from zodi.transfer.status import transfer_status, verify_transfer

FOG = PRESETS["fog"]


def transfer(root: Path, output: Path, model: Path, **more):
    settings = TransferSettings(batch=2, steps=4, **more.pop("settings", {}))
    return run_transfer(
        open_dataset("folder", root), output, [FOG], model=ModelChoice(str(model)), settings=settings, **more
    )


def refuse(descriptor, operation):
    raise OSError(errno.ENOLCK, "No locks available")


def images(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*.png"))}


def rows_without_times(output: Path):
    return {key: {**vars(row), "seconds": None} for key, row in read_rows(output, {}).items()}


def test_shards_together_equal_the_whole(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=9)
    transfer(root, tmp_path / "whole", tiny_model)
    counts = [transfer(root, tmp_path / "parts", tiny_model, shard=(i, 3)).progress.done for i in range(3)]
    assert sum(counts) == 9 and max(counts) < 9
    assert images(tmp_path / "parts") == images(tmp_path / "whole")
    assert rows_without_times(tmp_path / "parts") == rows_without_times(tmp_path / "whole")
    names = sorted(path.name for path in (tmp_path / "parts").glob("*.jsonl"))
    assert names == ["manifest.0-of-3.jsonl", "manifest.1-of-3.jsonl", "manifest.2-of-3.jsonl"]
    assert transfer(root, tmp_path / "parts", tiny_model).progress.skipped == 9  # unsharded, it knows what shards did


def test_an_image_that_is_there_counts_before_an_older_failure_in_another_manifest(tmp_path):
    """Names sort a shard's manifest before the whole run's, whichever was written last."""

    def append(shard, *rows):
        with Manifest(tmp_path / manifest_name(shard)) as manifest:
            for key, status, settings in rows:
                manifest.append(Row("fog", key, status, settings, seed=0))

    append(None, ("a", "failed", "now"), ("b", "ok", "now"), ("b", "failed", "now"), ("c", "ok", "old"))
    append((0, 2), ("a", "ok", "now"), ("c", "failed", "now"))
    rows = read_rows(tmp_path, {"fog": "now"})
    assert {key: row.status for (_, key), row in rows.items()} == {"a": "ok", "b": "failed", "c": "failed"}


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        (None, (0, 2), True),
        ((0, 2), None, True),
        ((0, 2), (0, 4), True),
        ((0, 2), (1, 2), False),
        ((0, 2), (0, 2), True),
    ],
)
@pytest.mark.parametrize("locks", [True, False])
def test_runs_that_may_make_the_same_images_exclude_each_other(tmp_path, monkeypatch, first, second, refused, locks):
    if not locks:
        monkeypatch.setattr(fcntl, "flock", refuse)
    with Manifest(tmp_path / manifest_name(first)):
        if refused:
            with pytest.raises(OutputError, match=rf"{manifest_name(first)}: another run is writing"):
                Manifest(tmp_path / manifest_name(second))
        else:
            Manifest(tmp_path / manifest_name(second)).__exit__(None, None, None)
    with Manifest(tmp_path / manifest_name(second)):
        pass
    assert not list(tmp_path.glob("*.lock"))


def test_a_restart_heals_a_damaged_manifest(tiny_model, street, tmp_path):
    transfer(street, tmp_path / "out", tiny_model)
    manifest = tmp_path / "out/manifest.jsonl"
    manifest.write_text("no row}\n" + manifest.read_text())
    with pytest.raises(OutputError, match="line 1 is not a row"):
        transfer(street, tmp_path / "out", tiny_model)
    assert transfer(street, tmp_path / "out", tiny_model, restart=True).progress.done == 3
    assert transfer(street, tmp_path / "out", tiny_model).progress.skipped == 3


def test_every_key_is_in_exactly_one_shard():
    keys = [f"frankfurt/{i:06}" for i in range(3000)]
    counts = [sum(in_shard(key, (i, 4)) for key in keys) for i in range(4)]
    assert sum(counts) == 3000
    assert min(counts) > 650


def test_results_at_the_size_of_their_sources(tiny_model, street, tmp_path):
    transfer(street, tmp_path / "out", tiny_model, settings={"output_size": "source"})
    assert Image.open(tmp_path / "out/fog/a/0.png").size == (96, 48)


def test_status_counts_what_is_there(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    (street / "images/a/2.png").write_bytes(b"no image")
    transfer(street, output, tiny_model)
    counts = transfer_status(output)["domains"]["fog"]
    expected = {"images": 3, "done": 2, "failed": 1, "quarantined": 0, "missing": 0, "stale": 0}
    assert {key: counts[key] for key in expected} == expected
    assert counts["images_per_s"] > 0
    assert set(counts["scores"]) == {"edges", "distance", "luma_sky", "luma_road"}
    assert "a/2" in counts["failures"][0]
    transfer(street, output, tiny_model, settings={"seed": 1}, limit=2, restart=True)
    counts = transfer_status(output)["domains"]["fog"]
    assert (counts["images"], counts["done"], counts["missing"], counts["stale"]) == (2, 2, 0, 1)


def test_verify_finds_every_kind_of_damage(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    transfer(street, output, tiny_model)
    assert verify_transfer(output).problems == []
    assert verify_transfer(output).files == 3
    changed = bytearray((output / "fog/a/0.png").read_bytes())
    changed[-30] ^= 1
    (output / "fog/a/0.png").write_bytes(changed)
    (output / "fog/a/1.png").unlink()
    Image.new("RGB", (8, 8)).save(output / "fog/a/foreign.png")
    (output / "fog/a/9.png.tmp").write_bytes(b"half")
    problems = verify_transfer(output).problems
    for name, says in [
        ("0.png", "checksum"),
        ("1.png", "missing"),
        ("foreign.png", "no row"),
        ("9.png.tmp", "left over"),
    ]:
        assert sum(f"/{name}: " in problem and says in problem for problem in problems) == 1
    assert len(problems) == 4


def test_status_and_verify_as_commands(cli, tiny_model, street, tmp_path):
    transfer(street, tmp_path / "out", tiny_model)
    shown = cli("transfer", "status", tmp_path / "out")
    assert shown.status == 0
    assert "fog: 3 done, 0 failed, 0 quarantined, 0 missing, 0 stale of 3" in shown.stdout
    assert json.loads(cli("transfer", "status", tmp_path / "out", "--json", "-").stdout)["domains"]["fog"]["done"] == 3
    assert cli("transfer", "verify", tmp_path / "out").status == 0
    (tmp_path / "out/fog/a/1.png").unlink()
    broken = cli("transfer", "verify", tmp_path / "out")
    assert (broken.status, "a/1.png: is missing" in broken.stdout) == (1, True)
    nothing = cli("transfer", "status", tmp_path / "nowhere")
    assert (nothing.status, "holds no run.json" in nothing.stderr) == (1, True)


def test_the_data_card(tiny_model, street, tmp_path):
    transfer(street, tmp_path / "out", tiny_model)
    card = (tmp_path / "out/README.md").read_text()
    for expected in (
        "driving in fog, best quality",
        "not photographs",
        "| fog | 3 | 0 (0.0%) | 0 | 0 | not measured |",
    ):
        assert expected in card


def test_a_damaged_run_file(tiny_model, street, tmp_path):
    output = tmp_path / "out"
    transfer(street, output, tiny_model)
    (output / "run.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        transfer(street, output, tiny_model)
    assert transfer(street, output, tiny_model, restart=True).progress.done == 3
