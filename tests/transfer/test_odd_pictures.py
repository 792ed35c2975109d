"""One picture or one name does not end a run, and pictures are upright in it."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_street
from PIL import Image
from runs import NIGHT, images, outcome, run_with
from turned import turn

from zodi.api import ModelChoice, report, run_transfer
from zodi.data import open_dataset
from zodi.errors import EngineError
from zodi.transfer import items
from zodi.transfer.manifest import read_rows
from zodi.transfer.settings import TransferSettings
from zodi.transfer.status import transfer_status, verify_transfer

STEPS = TransferSettings(batch=2, steps=2, strength=0.5)


def transfer(root, output, model, **options):
    dataset = open_dataset(None, root)
    return run_transfer(dataset, output, [NIGHT], model=ModelChoice(str(model)), settings=STEPS, **options).progress


def keep(root: Path, names: tuple[str, ...]) -> Path:
    for kind in ("images", "labels"):
        for path in (root / kind / "a").iterdir():
            if path.stem not in names:
                path.unlink()
    return root


def rename(root: Path, old: str, new: bytes) -> None:
    """A pair a/<old>.png; names of files are bytes."""
    for kind in ("images", "labels"):
        os.rename(root / kind / "a" / f"{old}.png", os.fsencode(root / kind / "a") + b"/" + new + b".png")  # noqa: PTH104


# --- upright


@pytest.mark.parametrize("labels", ["shown", "tagged"])
def test_turned_pictures_are_transferred_upright(tiny_model, tmp_path, labels):
    transfer(make_street(tmp_path / "plain", count=8), tmp_path / "expected", tiny_model)
    root = turn(make_street(tmp_path / "turned", count=8), labels)
    progress = transfer(root, tmp_path / "out", tiny_model, preview=tmp_path / "sheet.png")
    assert (progress.done, progress.failed) == (8, 0)
    assert images(tmp_path / "out") == images(tmp_path / "expected")
    assert (tmp_path / "sheet.png").is_file()
    assert transfer(root, tmp_path / "out", tiny_model).skipped == 8


def test_labels_of_stored_pixels_are_failed_rows_that_name_exif(cli, tiny_model, tmp_path):
    root = turn(make_street(tmp_path / "turned", count=8), "stored")
    run = ("transfer", "--root", root, "--model", tiny_model, "--domain", "night", "--steps", 2, "-o", tmp_path / "out")
    done = cli(*run)
    assert done.status == 1 and "4 transferred, 0 were done already, 4 failed" in done.stdout
    assert re.search(r"note: files that their EXIF orientation turns upright: 7, e\.g\. .*1\.png \(2\)", done.stderr)
    failed = {row.key: row.error for row in read_rows(tmp_path / "out", {}).values() if row.status == "failed"}
    assert list(failed) == ["a/4", "a/5", "a/6", "a/7"]
    assert all(f"EXIF orientation {tag} turns {tag - 1}.png" in failed[f"a/{tag - 1}"] for tag in (5, 6, 7, 8))


# --- names


def test_a_name_that_is_not_utf_8(cli, tiny_model, tmp_path):
    root = make_street(tmp_path / "in")
    rename(root, "1", b"stra\xdfe")
    key = "a/stra\udcdfe"
    run = ("transfer", "--root", root, "--model", tiny_model, "--domain", "night", "--steps", 2, "-o", tmp_path / "out")
    assert cli(*run, "--preview", tmp_path / "sheet.png", "--log", tmp_path / "log").status == 0
    assert b"stra\xdfe.png" in [os.fsencode(path.name) for path in (tmp_path / "out/night/a").iterdir()]
    rows = read_rows(tmp_path / "out", {})
    assert rows["night", key].status == "ok"
    again = cli(*run, "--json", "-")
    assert again.status == 0 and '"skipped": 3' in again.stdout
    shards = [cli(*run[:-1], tmp_path / "shards", "--shard", f"{i}/2") for i in range(2)]
    assert [done.status for done in shards] == [0, 0]
    assert images(tmp_path / "shards") == images(tmp_path / "out")
    assert not verify_transfer(tmp_path / "out").problems
    report([tmp_path / "out"], tmp_path / "page.html")
    assert r"stra\udcdfe" in (tmp_path / "page.html").read_text(encoding="utf-8")
    (root / "images/a").joinpath("stra\udcdfe.png").write_bytes(b"no image")
    assert re.search(r"stra\S+e\.png: is empty", cli(*run).stderr)
    assert r"stra\udcdfe" in cli("transfer", "status", tmp_path / "out").stdout
    assert r"stra\udcdfe" in cli("data", "check", "--root", root).stdout


@pytest.mark.parametrize("length", [249, 251])
def test_a_name_as_long_as_there_are(tiny_model, tmp_path, length):
    """The result's name fits; with the ending of a temporary file it would not."""
    root = make_street(tmp_path / "in")
    rename(root, "1", b"x" * length)
    assert transfer(root, tmp_path / "out", tiny_model).done == 3
    before = outcome(tmp_path / "out")
    assert transfer(root, tmp_path / "out", tiny_model).skipped == 3
    assert outcome(tmp_path / "out") == before and not list((tmp_path / "out").rglob("*.tmp"))


def test_a_byte_order_mark_in_run_json(tiny_model, street, tmp_path):
    assert transfer(street, tmp_path / "out", tiny_model).done == 3
    run = tmp_path / "out" / "run.json"
    run.write_text("\ufeff" + run.read_text(encoding="utf-8"), encoding="utf-8")
    assert transfer(street, tmp_path / "out", tiny_model).skipped == 3


def test_a_name_that_the_output_cannot_hold(tiny_model, tmp_path):
    """The folder a/1.png of one result is in the way of another: one is made, the other is a failed row."""
    root = make_street(tmp_path / "in")
    for kind in ("images", "labels"):
        path = root / kind / "a/1.png"
        path.rename(path.with_suffix(".bmp"))
        (root / kind / "a/1.png").mkdir()
        (root / kind / "a/2.png").rename(root / kind / "a/1.png/z.png")
    progress = transfer(root, tmp_path / "out", tiny_model)
    assert (progress.done, progress.failed) == (2, 1)
    assert "night/a/1" in progress.failures[0] and "/night/a/1.png away" in progress.failures[0]
    assert len(read_rows(tmp_path / "out", {})) == 3


# --- pictures


@pytest.mark.timeout(60)
def test_pipes_and_links_to_themselves_are_failed_rows(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=5)
    for name in ("images/a/1.png", "images/a/2.png", "labels/a/3.png"):
        (root / name).unlink()
    os.mkfifo(root / "images/a/1.png")
    (root / "images/a/2.png").symlink_to("2.png")
    os.mkfifo(root / "labels/a/3.png")
    progress = transfer(root, tmp_path / "out", tiny_model)
    assert (progress.done, progress.failed) == (2, 3)
    for name in ("images/a/1.png: is a pipe", "images/a/2.png: cannot be read (Too", "labels/a/3.png: is a pipe"):
        assert name in " ".join(progress.failures)


def test_an_endless_strip_is_a_failed_row(tiny_model, tmp_path):
    root = make_street(tmp_path / "in")
    for kind, picture in (("images", Image.new("RGB", (9000, 8))), ("labels", Image.new("L", (9000, 8), 7))):
        picture.save(root / kind / "a/1.png")
    progress = transfer(root, tmp_path / "out", tiny_model)
    assert (progress.done, progress.failed) == (2, 1)
    assert "a/1.png: is 8x9000 (height x width), one side more than 1000 times" in progress.failures[0]


class Unheard(Exception):
    """As a library raises that nobody knew."""


def insufficient() -> Exception:
    import cv2

    try:
        cv2.resize(np.zeros((1, 1), np.uint8), (2**30, 2**30))
    except cv2.error as error:
        return error
    raise AssertionError("OpenCV has 2^60 bytes")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Unheard("of"), "cannot be used (Unheard('of')): copy or export it again"),
        (lambda: MemoryError(), "does not fit into memory: make it smaller"),
        (insufficient, "does not fit into memory: make it smaller"),
        (lambda: RecursionError("deep"), "cannot be used (RecursionError('deep'))"),
    ],
)
def test_whatever_one_picture_leads_to_is_its_row(tiny_model, street, tmp_path, monkeypatch, make, says):
    original = items.read_label

    def read_label(dataset, sample):
        if sample.key == "a/1":
            raise make()
        return original(dataset, sample)

    monkeypatch.setattr(items, "read_label", read_label)
    progress = transfer(street, tmp_path / "out", tiny_model)
    assert (progress.done, progress.failed) == (2, 1)
    assert says in progress.failures[0] and f"{street}/images/a/1.png: " in progress.failures[0]


# --- full memory


def full_for(which):
    """An engine whose memory does not hold batches of which `which(images (B, 3, H, W))` says so."""

    def wrap(run):
        def limited(graph, inputs):
            if graph == "vae_encoder" and which(inputs["image"]):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return run(graph, inputs)

        return limited

    return wrap


def add_panorama(root: Path, key: str) -> None:
    for kind, picture in (("images", Image.new("RGB", (960, 48), (9, 9, 9))), ("labels", Image.new("L", (960, 48), 7))):
        picture.save(root / kind / f"a/{key}.png")


@pytest.mark.parametrize("first", [True, False])
def test_a_panorama_that_does_not_fit_is_a_failed_row_and_the_others_keep_their_batch(tiny_model, tmp_path, first):
    root = make_street(tmp_path / "in", count=6)
    run_with(root, tmp_path / "plain", tiny_model, lambda run: run)
    names = ["0-pano", "0-pano-2", "00"] if first else ["3-pano"]
    for name in names:
        add_panorama(root, name)
    rows, events = run_with(root, tmp_path / "out", tiny_model, full_for(lambda image: image.shape[-1] > 100))
    assert {key: row.status for (_, key), row in rows.items() if row.status != "ok"} == {
        f"a/{name}": "failed" for name in names
    }
    error = rows["night", f"a/{names[0]}"].error
    assert f"{root}/images/a/{names[0]}.png, 32x640 at the working size: out of memory at batch 1" in error
    assert {row.note for row in rows.values()} == {None}
    assert images(tmp_path / "out") == images(tmp_path / "plain")
    assert {Path(fields["image"]).stem for event, fields in events if event == "out of memory"} == set(names)


def test_one_picture_of_the_usual_size_that_does_not_fit(tiny_model, tmp_path):
    """As another process leads to: the next batch is whole again, and what was made in a smaller one says so."""
    root = make_street(tmp_path / "in", count=8)
    Image.new("RGB", (96, 48), (200, 0, 0)).save(root / "images/a/1.png")
    rows, _ = run_with(
        root, tmp_path / "out", tiny_model, full_for(lambda image: bool((image.std(dim=(2, 3)) == 0).any()))
    )
    assert {key for (_, key), row in rows.items() if row.status == "failed"} == {"a/1"}
    notes = {key: row.note for (_, key), row in rows.items()}
    assert notes == {f"a/{i}": "batch 1" if i == 0 else None for i in range(8)}
    run_with(root, tmp_path / "plain", tiny_model, lambda run: run)
    made, plain = images(tmp_path / "out"), images(tmp_path / "plain")
    assert all(made[name] == plain[name] for name in made if name != "night/a/0.png")


def test_memory_that_holds_nothing_ends_the_run_at_once(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=40)
    tried = []
    with pytest.raises(EngineError, match=r"a/0\.png, 32x64 at the working size: out of memory at batch 1.*no image"):
        run_with(root, tmp_path / "out", tiny_model, full_for(lambda image: tried.append(len(image)) or True))
    assert tried == [4, 2, 1]


def test_memory_that_holds_nothing_though_a_panorama_is_first(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=40)
    add_panorama(root, "0-pano")
    with pytest.raises(EngineError, match=r"a/\d+\.png, 32x64 at the working size: out of memory at batch 1.*no image"):
        run_with(root, tmp_path / "out", tiny_model, full_for(lambda image: True))


def test_a_resumed_run_whose_only_image_left_does_not_fit(tiny_model, tmp_path, monkeypatch):
    root = make_street(tmp_path / "in", count=2)
    assert transfer(root, tmp_path / "out", tiny_model).done == 2
    add_panorama(root, "pano")
    import zodi.transfer.batches as batches

    original = batches.encode_images

    def encode_images(run, image, layout):
        if image.shape[-1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(run, image, layout)

    monkeypatch.setattr(batches, "encode_images", encode_images)
    progress = transfer(root, tmp_path / "out", tiny_model)
    assert (progress.done, progress.skipped, progress.failed) == (0, 2, 1)
    assert transfer_status(tmp_path / "out")["domains"]["night"]["failures"][0].startswith("a/pano: ")
