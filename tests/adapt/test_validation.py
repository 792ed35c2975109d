"""validation.csv: the IoU of each class after each epoch, equal to one counted by hand, also beside older rows."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from interrupt import Killed, kill_after

from zodi.adapt.pairs import in_holdout
from zodi.adapt.settings import AdaptSettings
from zodi.adapt.train import adapt
from zodi.adapt.validation import read_log
from zodi.data import open_dataset, read_image, read_train_ids
from zodi.labels import CITYSCAPES_19
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.images import to_input

NAMES = CITYSCAPES_19.names
SOURCE = AdaptSettings(validate="source", holdout=0.35, norm_statistics="both")


def run(source, synthetic, output, settings, adapting=SOURCE, **options):
    return adapt(open_dataset(None, source), [synthetic], output, settings, adapting, device="cpu", **options)


def test_each_class_is_counted(source, synthetic, quick, tmp_path):
    told = []
    run(source, synthetic, tmp_path / "out", replace(quick, ema=0.0), notify=told.append)
    rows = list(csv.DictReader((tmp_path / "out/validation.csv").open()))
    assert list(rows[0]) == ["step", "miou", *NAMES] and len(rows) == 2
    dataset, segmenter = open_dataset(None, source), load_checkpoint(tmp_path / "out")
    hits, union = np.zeros(19), np.zeros(19)
    for sample in dataset.samples:
        if not in_holdout(sample.key, 0.35):
            continue
        with torch.no_grad():
            found = segmenter.net(to_input(read_image(sample.image), segmenter.info)[None])[0].argmax(dim=0).numpy()
        truth = read_train_ids(dataset, sample)
        for c in range(19):
            hits[c] += ((truth == c) & (found == c)).sum()
            union[c] += ((truth == c) | ((found == c) & (truth != 255))).sum()
    expected = {NAMES[c]: hits[c] / union[c] for c in range(19) if union[c]}
    last = {name: float(rows[-1][name]) for name in NAMES if rows[-1][name]}
    assert last == pytest.approx(expected, abs=1e-5)
    assert len(last) < 19  # an absent class has no figure
    assert float(rows[-1]["miou"]) == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    lines = [line for line in told if line.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == [f"step {row['step']}" for row in rows]
    assert f"mIoU {100 * float(rows[-1]['miou']):.1f}: road {100 * expected['road']:.0f}, " in lines[-1]


def test_a_log_of_before_there_were_classes_resumes(source, synthetic, quick, tmp_path):
    run(source, synthetic, tmp_path / "whole", quick)
    second = kill_after(read_log(tmp_path / "whole")[0][0] + 2)  # step of the second epoch, after a saved one
    with pytest.raises(Killed):
        run(source, synthetic, tmp_path / "cut", quick, save_every=1, stopped=second)
    path = tmp_path / "cut/validation.csv"
    rows = list(csv.reader(path.open()))
    path.write_text("".join(f"{row[0]},{row[1]}\n" for row in rows))
    run(source, synthetic, tmp_path / "cut", quick, save_every=1)
    old, new = (list(csv.DictReader((tmp_path / name / "validation.csv").open())) for name in ("cut", "whole"))
    assert [row["miou"] for row in old] == [row["miou"] for row in new]
    assert not any(old[0][name] for name in NAMES) and old[-1] == new[-1]
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")


def test_the_line_on_screen(cli, source, synthetic, quick, tmp_path):
    done = cli("adapt", "--source", source, "--synthetic", synthetic, "--validate", "source", "--holdout", 0.35,
        "--architecture", quick.architecture, "--encoder", quick.encoder, "--encoder-weights", "none", "--net-option",
        "decoder_channels=16", "--size", "48x96", "--crop", "32x64", "--batch", 2, "--epochs", 1, "--device", "cpu",
        "-o", tmp_path / "out")  # fmt: skip
    assert done.status == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "mIoU" in line]
    assert line.startswith("step ") and all(f" {name} " in line for name in NAMES) and len(line) < 300
