"""What goes wrong in a long run: full memory, spoilt results, a full disk, files that change or cannot be read."""

import json
import resource
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from conftest import make_street
from PIL import Image
from runs import NIGHT, images, run_with

from zodi.api import ModelChoice, run_transfer
from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.errors import EngineError, SizeError
from zodi.transfer.batches import is_out_of_memory
from zodi.transfer.manifest import read_rows
from zodi.transfer.settings import TransferSettings


def fits(limit: int):
    """An engine whose memory holds no more than `limit` images."""

    def wrap(run):
        def limited(graph, inputs):
            if graph == "vae_encoder" and len(inputs["image"]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return run(graph, inputs)

        return limited

    return wrap


def test_full_memory_halves_the_batch_and_marks_the_rows(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=5)
    rows, events = run_with(root, tmp_path / "out", tiny_model, fits(1))
    assert {row.status for row in rows.values()} == {"ok"}
    assert {row.note for row in rows.values()} == {"batch 1"}
    assert [fields["batch"] for event, fields in events if event == "out of memory"] == [2, 1]
    run_with(root, tmp_path / "one", tiny_model, lambda run: run, batch=1)
    assert images(tmp_path / "out") == images(tmp_path / "one")
    assert len(images(tmp_path / "out")) == 5


def test_one_image_that_does_not_fit_ends_the_run(tiny_model, street, tmp_path):
    with pytest.raises(EngineError, match="out of memory at batch 1"):
        run_with(street, tmp_path / "out", tiny_model, fits(0))


def test_what_filled_the_memory_is_let_go_before_the_next_try(tiny_model, street, tmp_path):
    alive = []

    class Large:
        pass

    def wrap(run):
        def limited(graph, inputs):
            if graph == "vae_encoder" and len(inputs["image"]) > 1:
                large = Large()
                assert not [ref for ref in alive if ref() is not None]
                alive.append(weakref.ref(large))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run(graph, inputs)

        return limited

    rows, _ = run_with(street, tmp_path / "out", tiny_model, wrap)
    assert len(alive) == 2 and {row.status for row in rows.values()} == {"ok"}


def test_an_image_of_another_shape_than_the_files_are_for_fails_alone(cli, tiny_model, tiny_bundle, street, tmp_path):
    for kind in ("images", "labels"):
        path = street / kind / "a/1.png"
        Image.open(path).resize((300, 48), Image.Resampling.NEAREST).save(path)
    run = ("transfer", "--root", street, "--engine", "ort", "--bundle", tiny_bundle, "--steps", 4, "--batch", 1)
    done = cli(*run, "-o", tmp_path / "out", "--image-size", 32)
    assert done.status == 1, done.stderr
    assert "1 failed" in done.stdout + done.stderr
    assert set(images(tmp_path / "out")) == {"night/a/0.png", "night/a/2.png"}
    (row,) = [row for row in read_rows(tmp_path / "out", {}).values() if row.status == "failed"]
    assert row.key == "a/1" and "the bundle is made for" in row.error


def test_full_memory_where_the_files_are_for_one_batch_alone(tiny_model, street, tmp_path):
    def wrap(run):
        def fixed(graph, inputs):
            if graph == "vae_encoder" and len(inputs["image"]) == 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            raise SizeError("vae_encoder: batch is 2, the bundle is made for 4")

        return fixed

    with pytest.raises(EngineError, match=r"out of memory at batch 4, and no smaller one.*made for 4"):
        run_with(street, tmp_path / "out", tiny_model, wrap)


def test_words_for_full_memory():
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

    assert not issubclass(Fail, RuntimeError)
    assert is_out_of_memory(Fail("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer"))
    assert is_out_of_memory(RuntimeException("bfc_arena: Failed to allocate memory"))
    assert not is_out_of_memory(Fail("shapes differ"))
    assert is_out_of_memory(RuntimeError("Failed to allocate memory for requested buffer of size 17"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))


def spoils(change, which):
    """An engine that spoils the decoded image of one place in the batch, as an overflow in half precision does."""

    def wrap(run):
        def spoilt(graph, inputs):
            outputs = run(graph, inputs)
            if graph == "vae_decoder":
                outputs["image"] = outputs["image"].clone()
                change(outputs["image"][which])
            return outputs

        return spoilt

    return wrap


SPOIL = {
    "not finite": lambda image: image.view(-1)[7:8].fill_(float("nan")),
    "flat colour": lambda image: image.fill_(-1.0),
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_spoilt_result_is_made_again_in_fp32(tiny_model, street, tmp_path, how):
    rows, _ = run_with(street, tmp_path / "out", tiny_model, spoils(SPOIL[how], 1))
    assert {row.key: row.note for row in rows.values()} == {"a/0": None, "a/1": "fp32", "a/2": None}
    run_with(street, tmp_path / "plain", tiny_model, lambda run: run)
    assert images(tmp_path / "out") == images(tmp_path / "plain")


@pytest.mark.parametrize("how", SPOIL)
def test_without_a_way_back_it_is_a_failed_row(tiny_model, street, tmp_path, how):
    rows, events = run_with(street, tmp_path / "out", tiny_model, spoils(SPOIL[how], 1), exact=False)
    assert rows["night", "a/1"].status == "failed"
    assert how in rows["night", "a/1"].error
    assert ("failed", "a/1") in [(event, fields.get("key")) for event, fields in events]
    assert set(images(tmp_path / "out")) == {"night/a/0.png", "night/a/2.png"}


FULL_DISK = """
import resource, sys
from pathlib import Path
from zodi.cli.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["zodi", *{arguments!r}]
main()
"""


def test_a_full_disk_leaves_no_half_file(cli, tiny_model, tmp_path):
    """A limit on file size fails a write in its middle, as a full disk does: the images are larger than the limit."""
    rng = np.random.default_rng(0)
    root = make_street(tmp_path / "in", count=2)
    for path in (root / "images").rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (48, 96, 3), dtype=np.uint8)).save(path)
    arguments = ["transfer", "--root", root, "--model", tiny_model, "-o", tmp_path / "out", "--steps", "4"]
    arguments = [str(a) for a in [*arguments, "--batch", "2", "--output-size", "source"]]
    code = FULL_DISK.format(limit=8_000, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("zodi: ")]) == 1
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert not images(tmp_path / "out")
    assert cli(*arguments).status == 0
    assert len(images(tmp_path / "out")) == 2
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 8_000


def test_one_per_cent_of_truncated_inputs(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=100, size=(32, 64))
    for key in (17,):
        path = root / "images" / "a" / f"{key}.png"
        path.write_bytes(path.read_bytes()[:-60])
    result = run_transfer(
        open_dataset("folder", root), tmp_path / "out", [PRESETS["fog"]], model=ModelChoice(str(tiny_model)),
        settings=TransferSettings(batch=8, steps=2, strength=0.5),
    )  # fmt: skip
    assert (result.progress.done, result.progress.failed) == (99, 1)
    assert "a/17" in result.progress.failures[0]


def test_a_failed_image_is_tried_again_once_it_is_mended(tiny_model, street, tmp_path):
    dataset, model = open_dataset("folder", street), ModelChoice(str(tiny_model))
    settings = TransferSettings(batch=2, steps=4)
    path = street / "images" / "a" / "1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    first = run_transfer(dataset, tmp_path / "out", [NIGHT], model=model, settings=settings).progress
    path.write_bytes(whole)
    second = run_transfer(dataset, tmp_path / "out", [NIGHT], model=model, settings=settings).progress
    assert (first.done, first.failed, second.done, second.skipped, second.failed) == (2, 1, 1, 2, 0)


def test_the_log_says_what_happened(tiny_model, street, tmp_path):
    (street / "images" / "a" / "1.png").write_bytes(b"no image")
    run_transfer(
        open_dataset("folder", street), tmp_path / "out", [NIGHT], model=ModelChoice(str(tiny_model)),
        settings=TransferSettings(batch=2, steps=4), log=tmp_path / "log" / "run.jsonl",
    )  # fmt: skip
    events = [json.loads(line) for line in (tmp_path / "log" / "run.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "failed", "end"]
    assert events[-1]["done"] == 2 and events[1]["key"] == "a/1"
