"""Images of any size through a deployed segmenter, whose file takes one size; without PyTorch."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from zodi.engines.segmenters import DeployedSegmenter
from zodi.segmenter.images import Pixels, resize_image, resize_label, window_starts

Size = tuple[int, int]


def predict_sizes(segmenter: DeployedSegmenter, images: Sequence[Pixels]) -> list[Pixels]:
    """Train ids (H, W) of each image (H, W, 3), at its own size; as the file says resized, or by sliding windows."""
    if segmenter.file.fit == "window":
        return [predict_windows(segmenter, image) for image in images]
    if not images:
        return []
    scaled = np.stack([resize_image(image, segmenter.info.size) for image in images])
    ids = segmenter.predict(scaled)
    return [resize_label(part, _size(image)) for part, image in zip(ids, images, strict=True)]


def predict_windows(segmenter: DeployedSegmenter, image: Pixels) -> Pixels:
    """Train ids (H, W) of an image (H, W, 3) by windows of the file's size; overlaps are cut in their middle."""
    window = segmenter.info.size
    height, width = _size(image)
    missing = [max(0, side - have) for side, have in zip(window, (height, width), strict=True)]
    if any(missing):
        image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    ids = np.empty(_size(image), np.uint8)
    rows, columns = (list(_cuts(side, part)) for side, part in zip(_size(image), window, strict=True))
    for top, first, last in rows:  # a row of windows at a time: all of a large photograph take twice its memory
        cut = np.stack([image[top : top + window[0], left : left + window[1]] for left, _, _ in columns])
        for part, (left, begin, end) in zip(segmenter.predict(cut), columns, strict=True):
            ids[first:last, begin:end] = part[first - top : last - top, begin - left : end - left]
    return ids[:height, :width]


def _cuts(side: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Along one side: where each window starts, and from where to where it counts."""
    starts = window_starts(side, window)
    borders = [0, *((a + window + b) // 2 for a, b in pairwise(starts)), side]
    yield from zip(starts, borders[:-1], borders[1:], strict=True)


def _size(image: Pixels) -> Size:
    return image.shape[0], image.shape[1]
