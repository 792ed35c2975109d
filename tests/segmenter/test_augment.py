"""Augmentation: the crop and flip of image and label agree, colours change within bounds, and seeds decide all."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from zodi.errors import SettingsError
from zodi.segmenter.augment import (
    change_pixels,
    crop_and_flip,
    epoch_order,
    generator,
    jitter_colours,
    rescale_crop_and_flip,
)
from zodi.segmenter.images import normalise, resize_image, resize_label, to_input
from zodi.segmenter.settings import make_settings


def test_image_and_label_stay_together():
    rows, columns = np.mgrid[:20, :30]
    image = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)
    label = (rows * 7 + columns).astype(np.uint8)
    flipped = set()
    corners = set()
    for index in range(60):
        part, ids = crop_and_flip(generator(0, 0, index), (image, label), (12, 16))
        assert part.shape == (12, 16, 3)
        assert ids.shape == (12, 16)
        assert np.array_equal((part[..., 0].astype(int) * 7 + part[..., 1]).astype(np.uint8), ids)
        flipped.add(bool(part[0, 0, 1] > part[0, 1, 1]))
        corners.add((part[..., 0].min(), part[..., 1].min()))
    assert flipped == {True, False}
    assert len(corners) > 30
    assert {top for top, _ in corners} == set(range(9))  # every row from the first to the last


def test_full_size_crop():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (same,) = crop_and_flip(generator(1, 2, 3), (image,), (3, 4))
    assert np.array_equal(np.sort(same), np.sort(image))


def test_seed_epoch_and_index_each_matter():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    pictures = {
        jitter_colours(generator(*numbers), image).tobytes() for numbers in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    }
    assert len(pictures) == 4
    again = jitter_colours(generator(0, 0, 1), image)
    assert again.tobytes() in pictures


def test_jitter_bounds():
    grey = np.full((8, 8, 3), 100, np.uint8)
    levels = [int(jitter_colours(generator(0, 0, i), grey)[0, 0, 0]) for i in range(300)]
    assert min(levels) >= 50  # only brightness changes a grey image: 0.5 .. 1.5
    assert max(levels) <= 150
    assert min(levels) < 60 < 140 < max(levels)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    strongest = [int(np.argmax(jitter_colours(generator(0, 0, i), red)[0, 0])) for i in range(200)]
    assert {0, 1, 2} == set(strongest)  # 0.3 of the circle to either side is past yellow and magenta


def test_noise_of_half_of_the_images():
    settings = make_settings(jitter=False)
    grey = np.full((32, 32, 3), 100, np.uint8)
    changed = [change_pixels(generator(0, 0, i), grey, settings).astype(float) - grey for i in range(200)]
    spread = np.array([change.std() for change in changed])
    noisy = spread > 0
    assert 70 < noisy.sum() < 130
    assert spread.max() < 10.5 and spread[noisy].max() > 8 and spread[noisy].min() < 2
    assert abs(np.mean([change.mean() for change in changed])) < 0.05
    black = np.zeros((8, 8, 3), np.uint8)  # nothing wraps around
    assert max(int(change_pixels(generator(0, 0, i), black, settings).max()) for i in range(50)) < 60
    off = make_settings("reference", jitter=False)
    assert all(change_pixels(generator(0, 0, i), grey, off) is grey for i in range(50))


def test_blur_of_half_of_the_images():
    settings = make_settings(jitter=False, noise=False, blur=True)
    board = (np.indices((16, 16)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, 2)
    changed = [not np.array_equal(change_pixels(generator(0, 0, i), board, settings), board) for i in range(200)]
    assert 60 < sum(changed) < 130


def test_epoch_order_is_a_permutation_of_its_own():
    first, second = epoch_order(3, 0, 50), epoch_order(3, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == epoch_order(3, 0, 50)
    assert first != epoch_order(4, 0, 50)


def test_resizing():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 4:] = 200
    label = (image[..., 0] > 0).astype(np.uint8) * 18
    assert resize_image(image, (4, 8)) is image
    assert resize_image(image, (8, 16)).shape == (8, 16, 3)
    assert set(np.unique(resize_label(label, (3, 5)))) == {0, 18}  # no value between
    assert len(np.unique(resize_image(image, (8, 16)))) > 2  # Lanczos has


def test_normalisation():
    class Form:
        mean, std = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)

    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 255, 0, 51
    tensor = to_input(image, Form())
    assert tensor.shape == (3, 2, 3)
    assert tensor[:, 0, 0].tolist() == pytest.approx([1.0, -1.0, 0.2])
    assert normalise(tensor.new_zeros((2, 3, 4, 4)).byte(), Form()).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.3, 0.6), (1.0, 1.5)], ids=str)
def test_a_rescaled_crop_is_one_of_the_rescaled_image(seed, scale):
    """Written out: all of the image is resized, cut and padded; image and label by the same factor, place and flip."""
    rng = np.random.default_rng(seed + 100)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    label = rng.integers(0, 19, (40, 60), np.uint8)
    part, ids = rescale_crop_and_flip(generator(0, 0, seed), (image, label), (32, 48), scale)
    drawn = generator(0, 0, seed)
    factor = drawn.uniform(*scale)
    size = (round(factor * 40), round(factor * 60))
    height, width = min(size[0], 32), min(size[1], 48)
    top, left = int(drawn.integers(size[0] - height + 1)), int(drawn.integers(size[1] - width + 1))
    step = -1 if drawn.random() < 0.5 else 1
    expected = np.full((32, 48, 3), 128, np.uint8)
    expected[:height, :width] = resize_image(image, size)[top : top + height, left : left + width]
    truth = np.full((32, 48), 255, np.uint8)
    rows = [floor((top + i + Fraction(1, 2)) * Fraction(40, size[0])) for i in range(height)]
    columns = [floor((left + i + Fraction(1, 2)) * Fraction(60, size[1])) for i in range(width)]
    truth[:height, :width] = label[rows][:, columns]
    assert np.array_equal(ids, truth[:, ::step])
    assert np.abs(part.astype(int) - expected[:, ::step]).max() <= 2  # of rounding
    assert (ids == 255).mean() == pytest.approx(1 - height * width / (32 * 48))


def test_factors_are_spread_over_their_range():
    """How much of the crop a small image fills says its factor."""
    label = np.zeros((100, 100), np.uint8)
    shares = [
        (rescale_crop_and_flip(generator(0, 0, i), (label,), (100, 100), (0.5, 1.0))[0] == 0).mean() for i in range(400)
    ]
    factors = np.sqrt(shares)
    assert factors.min() == pytest.approx(0.5, abs=0.02) and factors.max() == pytest.approx(1.0, abs=0.02)
    assert factors.mean() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (2.0, 1.0), (1.0, float("inf"))])
def test_wrong_ranges(scale):
    with pytest.raises(SettingsError, match=r"allowed is LOW,HIGH with 0 < LOW <= HIGH"):
        make_settings(scale=scale)
