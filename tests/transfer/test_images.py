import numpy as np
import pytest

from zodi.errors import SettingsError
from zodi.labels import CAMVID_11, CITYSCAPES_19
from zodi.transfer.images import (
    control_image,
    control_planes,
    decoded_image,
    fill_void,
    resize_image,
    source_planes,
    working_size,
)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1024, 2048, (512, 1024)),  # Cityscapes
        (1080, 1920, (512, 896)),  # ACDC
        (1052, 1914, (512, 960)),  # GTA5
        (360, 480, (512, 704)),  # CamVid
        (480, 360, (704, 512)),
        (10, 1000, (512, 51200)),
    ],
)
def test_working_size(height, width, expected):
    assert working_size(height, width, image_size=512, multiple=64) == expected


@pytest.mark.parametrize("image_size", [100, 32, 0])
def test_working_size_refuses_what_the_model_cannot_take(image_size):
    with pytest.raises(SettingsError, match="multiples of 64: the nearest is"):
        working_size(100, 100, image_size=image_size, multiple=64)


def test_source_is_averaged_down_and_scaled():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:2, :2] = 255
    planes = source_planes(image, (2, 4))
    assert planes.shape == (3, 2, 4)
    assert planes.dtype == np.float32
    assert planes[:, 0, 0].tolist() == [1, 1, 1]
    assert planes[:, 1, 1].tolist() == [-1, -1, -1]


def test_growing_uses_a_smooth_kernel():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 200
    assert len(np.unique(resize_image(image, (8, 8)))) > 2


@pytest.mark.parametrize(("before", "after"), [((45, 60), (32, 44)), ((33, 66), (32, 64)), ((40, 81), (8, 9))])
def test_shrinking_weighs_parts_of_pixels(before, after):
    """Enlarged by the number of results, each result covers whole pixels, whose mean is plain."""
    image = np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8)
    plain = image.astype(np.float64)
    for axis, count in enumerate(after):
        shape = [*plain.shape[:axis], count, before[axis], *plain.shape[axis + 1 :]]
        plain = plain.repeat(count, axis).reshape(shape).mean(axis + 1)
    assert np.abs(resize_image(image, after) - plain).max() <= 0.5 + 1e-3


def test_control_colours_keep_void_classes():
    ids = np.array([[7, 9], [0, 29]], np.uint8)
    colours = control_image(ids, CITYSCAPES_19, (2, 2))
    assert colours.tolist() == [[[128, 64, 128], [250, 170, 160]], [[0, 0, 0], [0, 0, 90]]]
    assert control_planes(colours)[0, 0, 0] == np.float32(128 / 255)


def test_nearest_keeps_colours_pure_and_area_mixes_them():
    ids = np.full((6, 6), 7, np.uint8)
    ids[:, 3:] = 26
    nearest = control_image(ids, CITYSCAPES_19, (2, 2))
    mixed = control_image(ids, CITYSCAPES_19, (3, 3), resize="area")  # the border falls inside a pixel
    allowed = {(128, 64, 128), (0, 0, 142)}
    assert {tuple(p) for p in nearest.reshape(-1, 3).tolist()} == allowed
    assert not {tuple(p) for p in mixed.reshape(-1, 3).tolist()} <= allowed


def test_coco_fills_void_from_the_nearest_label():
    ids = np.array([[8, 0, 0, 0, 26]], np.uint8)
    assert fill_void(ids, CITYSCAPES_19).tolist() in ([[8, 8, 8, 26, 26]], [[8, 8, 26, 26, 26]])
    assert control_image(ids, CITYSCAPES_19, (1, 5), palette="coco")[0, 0].tolist() == [96, 96, 96]
    void = np.zeros((2, 2), np.uint8)
    assert (fill_void(void, CITYSCAPES_19) == void).all()


def test_camvid_is_drawn_in_cityscapes_colours():
    ids = np.array([[3, 11]], np.uint8)
    assert control_image(ids, CAMVID_11, (1, 2)).tolist() == [[[128, 64, 128], [0, 0, 0]]]
    assert control_image(ids, CAMVID_11, (1, 2), palette="ade20k")[0, 0].tolist() == [140, 140, 140]


def test_decoded_values_are_truncated_or_rounded():
    planes = np.array([-2.0, 0.0, 0.5, 2.0], np.float32).reshape(1, 1, 4).repeat(3, 0)
    assert decoded_image(planes)[0, :, 0].tolist() == [0, 127, 191, 255]
    assert decoded_image(planes, "rounded")[0, :, 0].tolist() == [0, 128, 191, 255]
    truncated, rounded = (decoded_image(planes - 0.003, rule) for rule in ("reference", "rounded"))
    assert (rounded.astype(int) - truncated).max() == 1
