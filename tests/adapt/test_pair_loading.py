"""Batches of pairs: what is common to a pair, what is drawn for each image, and that nothing else decides."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import make_synthetic

from zodi.adapt.distort import DISTORTIONS, distort
from zodi.adapt.loading import PairBatches
from zodi.adapt.pairs import find_pairs
from zodi.data import open_dataset
from zodi.errors import DataError, OutputError


class Form:
    mean = std = (0.5, 0.5, 0.5)


def batches(source, directory, settings, epoch=0, first=0, **options):
    dataset = open_dataset(None, source)
    pairs = find_pairs(dataset, [directory])
    return list(PairBatches(dataset, pairs, settings, Form(), **options)(epoch, first))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def plain(quick):
    return replace(quick, jitter=False, noise=False)


def test_one_crop_and_flip_for_a_pair_and_its_label(source, synthetic, plain):
    """The synthetic image is the source's negative: only the same pixels are."""
    found = batches(source, synthetic, plain)
    assert len(found) == 3
    for batch in found:
        assert batch["image"].shape == batch["synthetic"].shape == (2, 3, 32, 64)
        assert torch.allclose(batch["synthetic"], -batch["image"], atol=1e-6)
        assert torch.equal(batch["synthetic_label"], batch["label"])
        assert batch["label"].dtype == torch.int64


def test_colours_are_drawn_for_each_image(source, synthetic, quick):
    images = {batch["image"].numpy().tobytes() for batch in batches(source, synthetic, quick)}
    assert len(images) == 3
    for batch in batches(source, synthetic, quick):
        assert not torch.allclose(batch["synthetic"], -batch["image"], atol=0.05)
    # the same image as its own partner: jitter still differs, content is alike
    for batch in batches(source, synthetic, quick, baseline="source-only"):
        assert not torch.allclose(batch["synthetic"], batch["image"], atol=0.02)


def test_source_only_is_two_views_of_the_source(source, synthetic, plain):
    for batch in batches(source, synthetic, plain, baseline="source-only"):
        assert torch.equal(batch["synthetic"], batch["image"])


def test_augment_changes_the_second_view_only(source, synthetic, plain):
    for with_augment, without in zip(
        batches(source, synthetic, plain, baseline="augment"),
        batches(source, synthetic, plain, baseline="source-only"),
        strict=True,
    ):
        assert torch.equal(with_augment["image"], without["image"])
        assert not torch.equal(with_augment["synthetic"], without["synthetic"])


def test_every_distortion_changes_the_image_and_repeats():
    image = np.asarray(Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5).resize((64, 48)))
    seen = set()
    for seed in range(60):
        first, again = (distort(np.random.default_rng(seed), image) for _ in range(2))
        assert np.array_equal(first, again)
        assert first.shape == image.shape
        assert first.dtype == np.uint8
        if not np.array_equal(first, image):
            seen.add(DISTORTIONS[int(np.random.default_rng(seed).integers(len(DISTORTIONS)))][0])
    assert seen == {name for name, _ in DISTORTIONS}


def test_gamma_darkens():
    image = np.full((8, 8, 3), 128, np.uint8)
    seed = next(s for s in range(50) if int(np.random.default_rng(s).integers(len(DISTORTIONS))) == 0)
    assert DISTORTIONS[0][0] == "RandomGamma"
    assert distort(np.random.default_rng(seed), image).max() < 128 * 0.75  # (128 / 255) ** 0.5 = 0.71 at least


def test_workers_processes_and_first_step_do_not_matter(source, synthetic, quick):
    whole = batches(source, synthetic, quick, epoch=1)
    for one, many in zip(whole, batches(source, synthetic, quick, epoch=1, workers=4), strict=True):
        assert equal(one, many)
    assert equal(whole[2], batches(source, synthetic, quick, epoch=1, first=2)[0])
    halves = [batches(source, synthetic, quick, epoch=1, process=i, processes=2) for i in range(2)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert equal(batch, {name: torch.cat([first[name], second[name]]) for name in batch})


def test_domains_take_turns(source, plain, tmp_path):
    output = make_synthetic(source, tmp_path / "out", ("night", "snow", "fog"))  # 1, 1/2 and 1/3 of the negative
    ratios = {}
    for epoch in range(3):
        for batch in batches(source, output, replace(plain, batch=1), epoch=epoch):
            value = ((batch["synthetic"] + 1) / (1 - batch["image"]).clamp(min=1e-3)).median().item()
            ratios.setdefault(epoch, []).append(round(1 / value))
    assert all(sorted(set(found)) == [1, 2, 3] for found in ratios.values())
    assert sum(map(len, ratios.values())) == 21


def test_a_mask_makes_pixels_void_in_the_synthetic_label_only(source, synthetic, plain):
    mask = np.zeros((48, 96), np.uint8)
    mask[:, :48] = 255
    for i in range(7):
        path = synthetic / f"masks/night/a/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    whole = replace(plain, crop=(48, 96))
    for batch in batches(source, synthetic, whole):
        for label, masked in zip(batch["label"], batch["synthetic_label"], strict=True):
            halves = [(masked[:, :48] == 255).all(), (masked[:, 48:] == 255).all()]
            assert halves.count(True) == 1  # flipped or not
            kept = slice(48, 96) if halves[0] else slice(0, 48)
            assert torch.equal(masked[:, kept], label[:, kept])
        assert not (batch["label"] == 255).all(dim=1).any()


def test_cutout_is_void_and_the_same_for_a_pair(source, synthetic, plain):
    found = batches(source, synthetic, replace(plain, cutout=True)) + batches(
        source, synthetic, replace(plain, cutout=True), epoch=1
    )
    cut = 0
    for batch, before in zip(
        found, batches(source, synthetic, plain) + batches(source, synthetic, plain, 1), strict=True
    ):
        new = (batch["label"] == 255) & (before["label"] != 255)
        cut += int(new.flatten(1).any(dim=1).sum())
        assert torch.equal(batch["label"], batch["synthetic_label"])
        grey = torch.tensor(128 / 127.5 - 1)
        for name in ("image", "synthetic"):
            assert torch.allclose(batch[name].movedim(1, -1)[new], grey, atol=1e-5)
    assert 2 <= cut <= 10  # half of twelve


def test_a_cache_folder_changes_nothing_and_is_used(source, synthetic, quick, tmp_path):
    folder = tmp_path / "cache"
    expected = batches(source, synthetic, quick)
    for _ in range(2):
        for cached, direct in zip(batches(source, synthetic, quick, cache=folder), expected, strict=True):
            assert equal(cached, direct)
    files = sorted(folder.iterdir())
    assert len(files) == 12  # an epoch of three steps of two pairs
    assert {path.suffix for path in files} == {".npy"}
    np.save(files[0], np.zeros((48, 96, 4), np.uint8))
    assert not all(equal(a, b) for a, b in zip(batches(source, synthetic, quick, cache=folder), expected, strict=True))


def test_a_changed_file_is_decoded_again(source, synthetic, plain, tmp_path):
    settings = replace(plain, batch=7, crop=(48, 96))
    (before,) = batches(source, synthetic, settings, cache=tmp_path / "cache")
    Image.fromarray(np.full((48, 96, 3), 9, np.uint8)).save(synthetic / "night/a/2.png")
    (after,) = batches(source, synthetic, settings, cache=tmp_path / "cache")
    assert torch.equal(before["image"], after["image"])
    changed = (before["synthetic"] != after["synthetic"]).flatten(1).any(dim=1)
    assert int(changed.sum()) == 1


def test_a_cache_that_cannot_be_made(source, synthetic, quick):
    with pytest.raises(OutputError, match="--cache"):
        batches(source, synthetic, quick, cache=source / "dataset.json")


def test_a_broken_synthetic_image_is_named(source, synthetic, quick):
    (synthetic / "night/a/1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"night/a/1\.png"):
        batches(source, synthetic, replace(quick, batch=7))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]
