"""Files that cannot be used: named and left out up to a limit, before the first step where their headers say so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_street
from PIL import ExifTags, Image

from zodi.data import open_dataset
from zodi.errors import DataError, OutputError
from zodi.segmenter import checks
from zodi.segmenter.augment import epoch_order
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.checks import stated_size
from zodi.segmenter.evaluate import evaluate
from zodi.segmenter.failures import Failures
from zodi.segmenter.loading import SourceBatches
from zodi.segmenter.train import train

NET = ("--architecture", "deeplabv3plus", "--encoder", "tu-test_efficientnet", "--encoder-weights", "none",
       "--net-option", "decoder_channels=16", "--size", "48x96", "--crop", "32x64", "--batch", "2", "--seed", "3",
       "--device", "cpu")  # fmt: skip


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def files(data: Path, kind: str) -> list[Path]:
    return sorted((data / kind).rglob("*.png"))


def make_shorter(label: Path) -> bytes:
    """A label two rows short, as two of GTA5's are; returns what it was."""
    before = label.read_bytes()
    picture = Image.open(label)
    picture.resize((picture.width, picture.height - 2), Image.Resampling.NEAREST).save(label)
    return before


def cut(path: Path) -> bytes:
    """A file whose header is whole and whose end is missing; returns what it was."""
    before = path.read_bytes()
    path.write_bytes(before[: 2 * len(before) // 3])
    assert stated_size(path) is not None
    return before


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


# --- found before the first step


def test_a_pair_that_does_not_fit_is_found_by_its_headers(data, quick, tmp_path, monkeypatch):
    """One label of seven, the last that an epoch reads: nothing else is decoded before, and nothing is written."""
    bad = files(data, "labels")[epoch_order(quick.seed, 0, 7)[-1]]
    make_shorter(bad)
    decoded = []
    original = checks.read_pair
    monkeypatch.setattr(
        checks, "read_pair", lambda dataset, sample: decoded.append(sample) or original(dataset, sample)
    )
    with pytest.raises(DataError, match=rf"{bad}: the label is 46x96 .* its image .* is 48x96"):
        run(data, tmp_path / "out", quick, failures=Failures(0))
    assert [sample.label for sample in decoded] == [bad]
    assert not (tmp_path / "out").exists()


def test_what_a_header_says(tmp_path):
    picture = Image.new("RGB", (60, 40))
    for orientation, size in ((1, (40, 60)), (3, (40, 60)), (6, (60, 40)), (8, (60, 40))):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        for suffix in ("jpg", "png", "webp"):
            picture.save(tmp_path / f"{orientation}.{suffix}", exif=exif)
            assert stated_size(tmp_path / f"{orientation}.{suffix}") == size
    for name, content in (("empty.png", b""), ("text.png", b"no image"), ("cut.png", b"\x89PNG\r\n\x1a\n\0\0")):
        (tmp_path / name).write_bytes(content)
        assert stated_size(tmp_path / name) is None
    assert stated_size(tmp_path / "missing.png") is None


@pytest.mark.parametrize(
    "damage", [make_shorter, cut, lambda path: path.write_bytes(b"")], ids=["short", "cut", "empty"]
)
@pytest.mark.parametrize("kind", ["labels", "images"])
def test_one_bad_file_does_not_end_a_training(cli, data, tmp_path, kind, damage):
    bad = files(data, kind)[epoch_order(3, 0, 7)[2]]
    damage(bad)
    done = cli("adapt", "--root", data, *NET, "--epochs", 2, "-o", tmp_path / "out", "--json", "-")
    assert done.status == 0, done.stderr
    (failure,) = json.loads(done.stdout)["failures"]
    assert bad.name in failure
    assert done.stderr.count(f"left out: {failure}\n") == 1
    assert len((tmp_path / "out/train.csv").read_text().splitlines()) == 1 + 6
    load_checkpoint(tmp_path / "out")
    refused = cli("adapt", "--root", data, *NET, "--epochs", 2, "-o", tmp_path / "strict", "--max-failures", 0)
    assert refused.status == 1
    assert failure in refused.stderr


def test_more_than_are_allowed_end_it(data, quick, tmp_path):
    for label in files(data, "labels")[:3]:
        make_shorter(label)
    told = []
    with pytest.raises(
        DataError, match=r"3 images or labels cannot be used, allowed are 2 \(--max-failures\): the last"
    ):
        run(data, tmp_path / "out", quick, failures=Failures(2, told.append))
    assert len(told) == 3
    assert not (tmp_path / "out").exists()
    assert run(data, tmp_path / "out", quick, failures=Failures(3)).finished


def test_fewer_than_a_batch_are_left(data, quick, tmp_path):
    for label in files(data, "labels")[:6]:
        make_shorter(label)
    with pytest.raises(DataError, match="1 of 7 images can be used with their labels, needed are 2"):
        run(data, tmp_path / "out", quick, failures=Failures(10))
    make_shorter(files(data, "labels")[6])
    with pytest.raises(DataError, match="0 of 7 images can be used"):
        run(data, tmp_path / "out", quick, failures=Failures(10))


def test_the_first_image_may_be_the_bad_one(data, quick, tmp_path):
    files(data, "images")[0].write_bytes(b"")
    assert run(data, tmp_path / "out", replace(quick, size=None, crop=None), failures=Failures(1)).finished
    assert load_checkpoint(tmp_path / "out").info.size == (64, 96)


# --- found later


def batches(data, settings, failures, epoch=0, first=0, **options):
    return list(SourceBatches(open_dataset(None, data), settings, Form(), failures=failures, **options)(epoch, first))


class Form:
    mean = std = (0.5, 0.5, 0.5)


def test_the_next_image_takes_the_place_of_a_bad_one(data, quick):
    """In every process, from any step on, whatever was met before: else a resumed training would differ."""
    order = epoch_order(quick.seed, 0, 7)
    good = batches(data, replace(quick, jitter=False, noise=False), None)
    cut(files(data, "images")[order[3]])
    settings = replace(quick, jitter=False, noise=False)
    failures = Failures(1)
    whole = batches(data, settings, failures, workers=3)
    assert len(failures.messages) == 1
    assert torch.equal(whole[0]["image"], good[0]["image"])
    assert torch.equal(whole[1]["image"][0], good[1]["image"][0])
    assert not torch.equal(whole[1]["image"][1], good[1]["image"][1])
    for again in (batches(data, settings, failures), batches(data, settings, Failures(1), workers=1)):
        assert all(torch.equal(a[name], b[name]) for a, b in zip(whole, again, strict=True) for name in a)
    late = batches(data, settings, Failures(1), first=1)
    assert torch.equal(late[0]["image"], whole[1]["image"])
    parts = [batches(data, settings, Failures(1), process=i, processes=2) for i in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch["image"], torch.cat([share["image"] for share in shares]))


def test_no_file_can_be_used(data, quick):
    for image in files(data, "images"):
        cut(image)
    with pytest.raises(DataError, match="none of 7 images can be used"):
        batches(data, quick, Failures(10))


def test_a_bad_file_in_the_middle_saves_the_state_first(data, quick, tmp_path):
    """Then it is mended, and the training goes on, where asked to, to the same weights as if nothing had been."""
    run(data, tmp_path / "whole", quick)
    index = epoch_order(quick.seed, 0, 7)[4]  # in the third batch
    label = files(data, "labels")[index]
    content = cut(label)
    # the look at the first labels is not to meet it
    assert index > 1
    with pytest.raises(DataError, match=label.name):
        run(data, tmp_path / "out", quick, failures=Failures(0))
    assert torch.load(tmp_path / "out/state.pt")["step"] == 2
    assert len((tmp_path / "out/train.csv").read_text().splitlines()) == 1 + 2
    label.write_bytes(content)
    bad, good = 2 * len(content) // 3, len(content)
    changed = rf"\(files_sha256\): labels/a/{index}.png \({bad} bytes there, {good} now\): .*--allow-changed-files"
    with pytest.raises(OutputError, match=changed):
        run(data, tmp_path / "out", quick)
    assert run(data, tmp_path / "out", quick, allow_changed_files=True).finished
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    record = json.loads((tmp_path / "out/train.json").read_text())
    assert record["changed"] == [f"labels/a/{index}.png"]
    assert record["files"][f"labels/a/{index}.png"] == good


def test_other_names_are_no_change_of_files(data, quick, tmp_path):
    answers = iter([True])
    run(data, tmp_path / "out", quick, stopped=lambda: next(answers))
    for kind in ("images", "labels"):
        (data / kind / "a/6.png").rename(data / kind / "a/x.png")
    with pytest.raises(OutputError, match="files_sha256"):
        run(data, tmp_path / "out", quick, allow_changed_files=True)


def test_before_anything_is_saved_files_may_change(data, quick, tmp_path):
    """Nothing has come of them yet."""

    def fails():
        raise RuntimeError("the power was cut")

    with pytest.raises(RuntimeError, match="power"):
        run(data, tmp_path / "out", quick, stopped=fails)
    assert (tmp_path / "out/train.json").is_file()
    make_street(data, count=7, seed=4)
    assert run(data, tmp_path / "out", quick).finished


# --- evaluation


def test_one_bad_file_does_not_end_an_evaluation(cli, data, checkpoint, tmp_path):
    bad = [files(data, "images")[2], files(data, "labels")[4]]
    whole = json.loads(cli("evaluate", checkpoint, data, "--json", "-").stdout)
    assert "failures" not in whole
    cut(bad[0])
    make_shorter(bad[1])
    done = cli("evaluate", checkpoint, data, "--json", "-", "-o", tmp_path / "scores")
    assert done.status == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["results"][0]["images"] == 5
    named = [next(path for path in bad if str(path) in message) for message in content["failures"]]
    assert sorted(named) == sorted(bad)
    assert done.stderr.count("left out: ") == 2
    left = make_street(tmp_path / "left", count=7)
    for number in (2, 4):
        for kind in ("images", "labels"):
            (left / kind / f"a/{number}.png").unlink()
    alone = json.loads(cli("evaluate", checkpoint, left, "--json", "-").stdout)
    assert alone["results"][0]["iou"] == content["results"][0]["iou"]
    strict = cli("evaluate", checkpoint, data, "--max-failures", 1)
    assert strict.status == 1
    assert "2 images or labels cannot be used, allowed are 1 (--max-failures)" in strict.stderr


def test_an_evaluation_without_a_file_that_can_be_used(data, checkpoint):
    for label in files(data, "labels"):
        label.write_bytes(b"")
    with pytest.raises(DataError, match=r"no label can be used: .*6\.png: is empty"):
        evaluate(load_checkpoint(checkpoint), [open_dataset(None, data)], failures=Failures(10))


def test_where_nobody_is_told_nothing_is_left_out(data, checkpoint, quick, tmp_path):
    bad = files(data, "labels")[3]
    bad.write_bytes(b"")
    with pytest.raises(DataError, match=rf"^{bad}: is empty"):
        evaluate(load_checkpoint(checkpoint), [open_dataset(None, data)])
    with pytest.raises(DataError, match=rf"^{bad}: is empty"):
        run(data, tmp_path / "out", quick)
