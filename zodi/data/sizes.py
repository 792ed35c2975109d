"""Of which sizes the images of a data set are, from the files' headers alone."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from zodi.ahead import map_ahead
from zodi.data.dataset import Sample
from zodi.data.images import read_header
from zodi.errors import DataError

WORKERS = 8  # a header is a few kilobytes: reading it is mostly waiting

Size = tuple[int, int]  # height, width in pixels


def count_sizes(samples: Sequence[Sample]) -> Counter[Size]:
    """How many images have which (height, width), upright; files that are no images are left out."""

    def size(sample: Sample) -> list[Size]:
        with suppress(DataError):  # whoever reads the image says so
            return [read_header(sample.image).size]
        return []

    return Counter(each for found in map_ahead(size, samples, WORKERS, 8 * WORKERS) for each in found)
