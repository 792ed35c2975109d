"""Losses besides cross entropy equal plain numpy's, never see void, and train with any setting bit for bit again."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from interrupt import Killed, kill_after

from zodi.data import open_dataset
from zodi.errors import OutputError, SettingsError
from zodi.segmenter.class_pixels import class_weights, count_pixels, read_class_weights
from zodi.segmenter.failures import Failures
from zodi.segmenter.objective import cross_entropy, make_supervised
from zodi.segmenter.settings import LOSSES, make_settings
from zodi.segmenter.train import train

WEIGHTS = [1.0, 0.5, 2.0, 3.0, 0.25]


def terms_of(loss):
    return make_settings(loss=loss).loss_terms


def supervised(loss, weights=None, logits=5):
    return make_supervised(terms_of(loss), weights, logits)


@pytest.fixture
def some():
    """Logits (4, 5, 6, 7) and labels with void, spread unevenly, and without class 4."""
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (4, 6, 7))
    labels[0, :5] = 255
    labels[2, :, 3] = 255
    return 3 * torch.randn(4, 5, 6, 7), labels


def valid_of(labels):
    return (labels != 255).sum().float()


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def written_out(name, logits, labels, weights):
    """The loss in numpy, by its definition, over the valid pixels."""
    x = logits.double().numpy().transpose(0, 2, 3, 1).reshape(-1, logits.shape[1])
    y = labels.numpy().ravel()
    x, y = x[y != 255], y[y != 255]
    p, truth = softmax(x), np.eye(x.shape[1])[y]
    w = np.ones(x.shape[1]) if weights is None else np.array(weights)
    nll = -np.log(p[np.arange(len(y)), y])
    if name == "cross-entropy":
        return (w[y] * nll).mean()
    if name == "focal":  # one against all the others, with logistic functions, (1 - p)^2
        own = np.where(truth == 1, 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x)))
        return (((1 - own) ** 2 * -np.log(own)).mean(axis=0) * w).sum() / w.sum()
    if name == "dice":
        dice = 2 * (p * truth).sum(axis=0) / (p.sum(axis=0) + truth.sum(axis=0))
        return ((1 - dice) * (truth.sum(axis=0) > 0) * w).sum() / w.sum()
    if name == "ohem":
        order = np.sort(nll)[::-1]
        hard = nll >= min(-np.log(0.7), order[int(np.ceil(len(y) / 16)) - 1])
        return (w[y] * nll)[hard].mean()
    losses = []  # lovasz: Jaccard losses of the sets of pixels whose errors are largest
    for c in np.unique(y):
        errors = np.abs(truth[:, c] - p[:, c])
        order = np.argsort(-errors, kind="stable")
        value, before = 0.0, 0.0
        for n in range(1, len(y) + 1):
            wrong = np.zeros(len(y), bool)
            wrong[order[:n]] = True
            fg = truth[:, c] == 1
            jaccard = 1 - (fg & ~wrong).sum() / (fg | wrong).sum()
            value += errors[order[n - 1]] * (jaccard - before)
            before = jaccard
        losses.append(value)
    return np.mean(losses)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", LOSSES)
def test_each_equals_its_definition(some, name, weights):
    logits, labels = some
    if name == "lovasz":
        weights = None
    assert supervised(name, weights)(logits, labels, valid_of(labels)).item() == pytest.approx(
        written_out(name, logits, labels, weights), rel=1e-5
    )


def test_a_sum_with_factors(some):
    logits, labels = some
    valid = valid_of(labels)
    expected = written_out("cross-entropy", *some, None) + 0.5 * written_out("dice", *some, None)
    assert supervised("cross-entropy+0.5*dice")(logits, labels, valid).item() == pytest.approx(expected, rel=1e-5)


def test_the_default_is_cross_entropy_itself():
    assert supervised("cross-entropy") is cross_entropy


@pytest.mark.parametrize("name", LOSSES)
def test_void_has_no_part(some, name):
    """No gradient at void pixels, and what the logits are there changes nothing."""
    logits, labels = some
    logits.requires_grad_(True)
    value = supervised(name)(logits, labels, valid_of(labels))
    (gradient,) = torch.autograd.grad(value, logits)
    void = (labels == 255)[:, None].expand_as(gradient)
    assert void.any() and not gradient[void].any() and gradient[~void].any()
    other = torch.where(void, 7.0 * torch.randn_like(logits), logits)
    assert supervised(name)(other, labels, valid_of(labels)).item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", [*LOSSES, "+".join(LOSSES)])
@pytest.mark.parametrize("labels", [255, 1], ids=["void", "one class"])
def test_all_void_is_nothing_and_one_class_is_finite(name, weights, labels):
    logits = torch.randn(2, 5, 4, 4, requires_grad=True)
    truth = torch.full((2, 4, 4), labels)
    value = supervised(name, weights)(logits, truth, valid_of(truth))
    value.backward()
    assert value.shape == () and value.isfinite() and logits.grad.isfinite().all()
    assert (value.item() == 0 and not logits.grad.any()) if labels == 255 else value.item() > 0


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_parts_of_a_step_add_up_to_the_whole(some, name):
    logits, labels = some
    loss, valid = supervised(name, WEIGHTS), valid_of(labels)
    parts = sum(loss(logits[i : i + 1], labels[i : i + 1], valid) for i in range(4))
    assert parts.item() == pytest.approx(loss(logits, labels, valid).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["dice", "lovasz", "ohem"])
def test_terms_of_parts_count_by_their_valid_pixels(some, name):
    """A part that is void has no say, and a part alone is the whole."""
    logits, labels = some
    labels[1] = 255
    loss = supervised(name)
    parts = [loss(logits[i : i + 1], labels[i : i + 1], valid_of(labels)) for i in range(4)]
    alone = [loss(logits[i : i + 1], labels[i : i + 1], valid_of(labels[i])) for i in range(4)]
    shares = [(valid_of(labels[i]) / valid_of(labels)).item() for i in range(4)]
    assert [part.item() for part in parts] == pytest.approx(
        [share * one.item() for share, one in zip(shares, alone, strict=True)], rel=1e-5
    )


def test_a_logit_of_no_class_has_no_weight(some):
    logits, labels = some
    with_void = torch.cat([logits, torch.randn(4, 1, 6, 7)], dim=1)
    for name in ("focal", "dice"):
        weighted = supervised(name, WEIGHTS, logits=6)(with_void, labels, valid_of(labels))
        expected = written_out(name, with_void, labels, [*WEIGHTS, 0.0])
        assert weighted.item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_by_pixels():
    """Class 1 is in one of two images of 100 pixels, class 3 in none."""
    counts = np.array([[60, 40, 0, 0], [90, 0, 10, 0]])
    pixels = counts.sum(axis=0)
    balanced = class_weights("balanced", counts, "abcd")
    assert balanced == pytest.approx([200 / (3 * 150), 200 / (3 * 40), 200 / (3 * 10), 1])
    assert (balanced[:3] * pixels[:3]).sum() / pixels.sum() == pytest.approx(1)  # the mean over pixels
    frequencies = np.array([150 / 200, 40 / 100, 10 / 100])
    assert class_weights("median-frequency", counts, "abcd") == pytest.approx([*(0.4 / frequencies), 1])
    assert class_weights({"b": 2}, counts, "abcd") == [1, 2, 1, 1]


def test_pixels_are_those_of_the_labels(data):
    dataset = open_dataset(None, data)
    counts = count_pixels(dataset, dataset.samples, (48, 96), Failures())
    assert counts.shape == (7, 19)
    from zodi.data import read_train_ids

    for row, sample in zip(counts, dataset.samples, strict=True):
        ids = read_train_ids(dataset, sample)
        assert row.tolist() == [int((ids == c).sum()) for c in range(19)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": "hinge"}, r"loss is 'hinge': allowed are cross-entropy, focal, dice, lovasz, ohem"),
        ({"loss": "dice+dice"}, r"each once"),
        ({"loss": "0*dice"}, r"factors above 0"),
        ({"loss": "x*dice"}, r"loss is 'x\*dice'"),
        ({"loss": "lovasz", "class_weights": "balanced"}, "loss lovasz takes no class_weights"),
        ({"class_weights": "inverse"}, "class_weights is 'inverse', allowed are balanced, median-frequency"),
        ({"class_weights": {"road": -1.0}}, "allowed is 0 or more"),
        ({"class_weights": {}}, "not 0 for all"),
    ],
)
def test_wrong_settings(changed, message):
    with pytest.raises(SettingsError, match=message):
        make_settings(**changed)


def test_class_weights_as_written(tmp_path):
    assert read_class_weights("balanced") == "balanced"
    assert read_class_weights("traffic light=2, pole = 0.5") == {"traffic light": 2.0, "pole": 0.5}
    (tmp_path / "w.toml").write_text('pole = 3\n"traffic light" = 0.5\n')
    assert read_class_weights(str(tmp_path / "w.toml")) == {"pole": 3.0, "traffic light": 0.5}
    for wrong in ("inverse", "pole=much", "pole"):
        with pytest.raises(SettingsError, match=r"has no number: write balanced, median-frequency, NAME=WEIGHT"):
            read_class_weights(wrong)
    (tmp_path / "w.toml").write_text("[classes]\npole = 3\n")
    with pytest.raises(SettingsError, match="'classes' has no number"):
        read_class_weights(str(tmp_path / "w.toml"))
    with pytest.raises(SettingsError, match=r"gone\.toml: cannot be read"):
        read_class_weights(str(tmp_path / "gone.toml"))


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


@pytest.mark.parametrize(
    ("loss", "weights"),
    [("focal+dice", "balanced"), ("ohem+0.5*lovasz", "median-frequency"), ("cross-entropy", {"road": 3.0})],
)
def test_killed_and_resumed(data, quick, tmp_path, loss, weights):
    settings = replace(quick, loss=loss, class_weights=weights)
    run(data, tmp_path / "whole", settings)
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", settings, save_every=1, stopped=kill_after(5))
    run(data, tmp_path / "cut", settings, save_every=1)
    for name in ("model.safetensors", "train.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    plain = tmp_path / "plain"
    run(data, plain, quick)
    assert (plain / "train.csv").read_text() != (tmp_path / "whole/train.csv").read_text()


def test_a_training_of_before_these_settings_resumes(data, quick, tmp_path):
    """Its train.json says nothing of them: it had the defaults."""
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", quick, save_every=1, stopped=kill_after(3))
    path = tmp_path / "cut/train.json"
    content = json.loads(path.read_text())
    for name in ("loss", "class_weights"):
        del content["settings"][name]
    path.write_text(json.dumps(content))
    with pytest.raises(OutputError, match=r"other settings \(loss: 'cross-entropy' there, 'dice' now"):
        run(data, tmp_path / "cut", replace(quick, loss="dice"))
    run(data, tmp_path / "cut", quick)
    assert len(list(csv.reader((tmp_path / "cut/train.csv").open()))) == 1 + 6


def test_an_unknown_class_is_found_before_the_first_step(data, quick, tmp_path):
    with pytest.raises(SettingsError, match=r"names 'raod', which is no class: allowed are road, sidewalk"):
        run(data, tmp_path / "out", replace(quick, class_weights={"raod": 2.0}))
    assert not (tmp_path / "out").exists()


def test_what_parts_do_not_share_is_told(data, quick, tmp_path):
    told = []
    run(data, tmp_path / "out", replace(quick, loss="cross-entropy+dice", batch=4, accumulate=2, epochs=1),
        notify=told.append)  # fmt: skip
    assert told == ["dice: taken of each of the 2 parts of a step, not of the whole batch"]
