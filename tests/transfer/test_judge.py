"""Results under a judge: scores, drawing again, quarantine, masks, and a judge that fails."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_street
from PIL import Image
from runs import NIGHT, images, run_with

from zodi.api import ModelChoice, run_transfer
from zodi.data import open_dataset
from zodi.errors import ModelError, SettingsError
from zodi.labels import CAMVID_11, CITYSCAPES_19, LabelSet
from zodi.segmenter.checkpoint import SegmenterInfo, palette_of, save_checkpoint
from zodi.segmenter.judge import open_judge
from zodi.segmenter.nets import build_net
from zodi.transfer.manifest import read_rows
from zodi.transfer.settings import TransferSettings
from zodi.transfer.status import transfer_status, verify_transfer


def make_judge(directory: Path, label_set: LabelSet = CITYSCAPES_19) -> Path:
    """A real segmenter with random weights: its opinions are worthless, but they are opinions."""
    torch.manual_seed(0)
    net = build_net("fpn", "tu-mobilenetv3_small_050", label_set.num_classes, encoder_weights="none", options={}).net
    info = SegmenterInfo(
        architecture="fpn",
        encoder="tu-mobilenetv3_small_050",
        options={},
        classes=label_set.names,
        palette=palette_of(label_set),
        mean=(0.5, 0.5, 0.5),
        std=(0.002, 0.002, 0.002),  # strong inputs: without training the net would else see one class everywhere
        size=(64, 128),
    )
    save_checkpoint(directory, net.state_dict(), info)
    return directory


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Path:
    return make_judge(tmp_path_factory.mktemp("judges") / "cityscapes")


def transfer(root, output, model, judge, **settings):
    return run_transfer(
        open_dataset("folder", root), output, [NIGHT], model=ModelChoice(str(model)), judge=judge,
        settings=TransferSettings(batch=2, steps=4, **settings),
    ).progress  # fmt: skip


def test_scores_are_in_rows_and_status(tiny_model, street, tmp_path, judge):
    transfer(street, tmp_path / "out", tiny_model, judge)
    scores = read_rows(tmp_path / "out", {})["night", "a/0"].scores
    assert {"layout", "judge_source", "judge_result", "classes", "edges", "distance"} <= set(scores)
    assert 0.0 <= scores["layout"] <= 1.0
    assert set(transfer_status(tmp_path / "out")["domains"]["night"]["scores"]["classes"]) <= set(CITYSCAPES_19.names)


def test_a_judge_does_not_change_the_pixels(tiny_model, street, tmp_path, judge):
    transfer(street, tmp_path / "judged", tiny_model, judge)
    transfer(street, tmp_path / "plain", tiny_model, None)
    assert images(tmp_path / "judged") == images(tmp_path / "plain")


def test_what_no_try_satisfies_is_quarantined(tiny_model, street, tmp_path, judge):
    output = tmp_path / "out"
    impossible = {"min_layout": 1.0, "tries": 3}
    progress = transfer(street, output, tiny_model, judge, **impossible)
    rows = read_rows(output, {})
    rejected = [row for row in rows.values() if row.status == "quarantined"]
    assert progress.quarantined == len(rejected) > 0
    assert {row.attempt for row in rejected} == {2}
    assert all("is below 1.0" in row.error for row in rejected)
    assert set(images(output)) == {
        f"{'quarantine/' if row.status == 'quarantined' else ''}night/{row.key}.png" for row in rows.values()
    }
    assert verify_transfer(output).problems == []
    assert transfer(street, output, tiny_model, judge, **impossible).skipped == 3


def test_every_try_draws_other_noise_and_neighbours_do_not_matter(tiny_model, tmp_path, judge):
    """The picture of a try is the same whether its neighbours were drawn again too or not."""
    root = make_street(tmp_path / "in", count=3)
    transfer(root, tmp_path / "all", tiny_model, judge, min_layout=1.0, tries=2)
    all_rows, all_images = read_rows(tmp_path / "all", {}), images(tmp_path / "all")
    transfer(root, tmp_path / "first", tiny_model, judge)
    first = read_rows(tmp_path / "first", {})
    again = [key for key, row in all_rows.items() if row.attempt == 1]
    assert again
    for key in again:
        assert all_rows[key].seed != first[key].seed
        assert all_rows[key].sha256 != first[key].sha256
    for kind in ("images", "labels"):
        for path in (root / kind).rglob("*.png"):
            if path.stem != again[0][1].split("/")[1]:
                path.unlink()
    transfer(root, tmp_path / "alone", tiny_model, judge, min_layout=1.0, tries=2)
    ((name, content),) = images(tmp_path / "alone").items()
    assert all_images[name] == content


def test_masks_show_where_a_confident_judge_denies_the_label(tiny_model, street, tmp_path, monkeypatch, judge):
    monkeypatch.setattr("zodi.transfer.quality.CONFIDENT", 0.06)  # a net with random weights is sure of nothing
    transfer(street, tmp_path / "out", tiny_model, judge, mask_disagreement=True)
    mask = np.asarray(Image.open(tmp_path / "out/masks/night/a/0.png"))
    share = read_rows(tmp_path / "out", {})["night", "a/0"].scores["masked"]
    assert mask.shape == (32, 64)
    assert set(np.unique(mask)) <= {0, 255}
    assert share == pytest.approx((mask == 255).mean(), abs=1e-3)
    run_transfer(
        open_dataset("folder", street), tmp_path / "out", [NIGHT], model=ModelChoice(str(tiny_model)), judge=judge,
        settings=TransferSettings(batch=2, steps=4), restart=True,
    )  # fmt: skip
    assert not list((tmp_path / "out/masks").rglob("*.png"))  # they were of other images
    assert 0 < share < 1


def test_a_judge_that_fails_costs_its_batch_not_the_run(tiny_model, street, tmp_path):
    calls = []

    def moody(pictures):
        calls.append(len(pictures))
        if len(calls) == 1:
            raise ValueError("no opinion")
        return np.zeros(pictures.shape[:3], np.uint8), np.ones(pictures.shape[:3], np.float32)

    rows, events = run_with(street, tmp_path / "out", tiny_model, lambda run: run, batch=2, judge=moody)
    assert sorted(row.status for row in rows.values()) == ["failed", "failed", "ok"]
    assert all("the judge failed: ValueError('no opinion')" in r.error for r in rows.values() if r.status == "failed")
    assert "judge failed" in [event for event, _ in events]
    assert set(calls) == {2}  # short batches are filled up for it too


def test_refusals(tiny_model, street, tmp_path, judge):
    with pytest.raises(SettingsError, match="need a judge"):
        transfer(street, tmp_path / "out", tiny_model, None, min_layout=0.5)
    with pytest.raises(SettingsError, match="0 to 1"):
        TransferSettings(min_layout=1.5)
    with pytest.raises(SettingsError, match="tries is 0"):
        TransferSettings(tries=0)
    with pytest.raises(ModelError, match="no such file"):
        transfer(street, tmp_path / "out", tiny_model, tmp_path / "nowhere")
    with pytest.raises(ModelError, match="needs road, sidewalk"):
        open_judge(make_judge(tmp_path / "camvid", CAMVID_11), CITYSCAPES_19, torch.device("cpu"))
    assert not (tmp_path / "out").exists()
