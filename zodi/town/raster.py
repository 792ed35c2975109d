"""Integer scan conversion: all polygons of a scene at once, visibility by painter's order.

Vertices are fixed point, so a pixel belongs to a polygon or not on every machine alike. A pixel is covered when its
centre is; edges that two polygons share leave neither gap nor overlap.
"""

import numpy as np
from numpy.typing import NDArray

SUBPIXELS = 16  # fixed-point steps per pixel
_HALF = SUBPIXELS // 2

Ints = NDArray[np.int64]


def coverage(x: Ints, y: Ints, counts: Ints, height: int, width: int) -> tuple[Ints, Ints]:
    """The pixels that each polygon covers, polygon by polygon in the given order.

    x, y     (V,) vertices of all polygons one after another, in 1 / SUBPIXELS pixel, y downward
    counts   (P,) vertices per polygon, >= 3; polygons are convex (or at least convex along every row)

    Returns (pixels, polygon), both (N,): flat pixel index row * width + column, and which polygon covers it.
    """
    ends = np.cumsum(counts)
    first = ends - counts
    following = np.arange(1, len(x) + 1)
    following[ends - 1] = first
    x1, y1 = x[following], y[following]

    # 1. The rows of each polygon, and where its first row lies in the list of all (polygon, row) pairs.
    top = np.clip(_row(np.minimum.reduceat(y, first)), 0, height)
    bottom = np.clip(_row(np.maximum.reduceat(y, first)), 0, height)
    rows = bottom - top
    row_end = np.cumsum(rows)
    slot_of_row_zero = row_end - rows - top
    total = int(row_end[-1])

    # 2. Where each edge crosses the centre line of each of its rows.
    down = y1 > y
    y_low, y_high = np.where(down, y, y1), np.where(down, y1, y)
    x_low, x_high = np.where(down, x, x1), np.where(down, x1, x)
    row0 = np.clip(_row(y_low), 0, height)
    crossings = np.clip(_row(y_high), 0, height) - row0
    edge = np.repeat(np.arange(len(x)), crossings)
    crossing_end = np.cumsum(crossings)
    row = np.arange(len(edge)) - (crossing_end - crossings - row0)[edge]
    y_from = y_low[edge]
    x_from = x_low[edge]
    cross = x_from + (row * SUBPIXELS + _HALF - y_from) * (x_high[edge] - x_from) // (y_high[edge] - y_from)

    # 3. A row of a convex polygon has one crossing on a falling edge and one on a rising edge.
    polygon_of_vertex = np.repeat(np.arange(len(counts)), counts)
    slot = slot_of_row_zero[polygon_of_vertex[edge]] + row
    falls = down[edge]
    one = np.zeros(total, dtype=np.int64)
    other = np.zeros(total, dtype=np.int64)
    one[slot[falls]] = cross[falls]
    other[slot[~falls]] = cross[~falls]
    left = np.clip(_row(np.minimum(one, other)), 0, width)
    right = np.clip(_row(np.maximum(one, other)), 0, width)

    # 4. Spans to pixels.
    length = right - left
    length_end = np.cumsum(length)
    polygon_of_slot = np.repeat(np.arange(len(counts)), rows)
    row_of_slot = np.arange(total) - slot_of_row_zero[polygon_of_slot]
    start = row_of_slot * width + left - (length_end - length)
    pixels = np.repeat(start, length) + np.arange(int(length_end[-1]) if total else 0)
    return pixels, np.repeat(polygon_of_slot, length)


def signed_area(x: Ints, y: Ints, counts: Ints) -> Ints:
    """Twice the area of each polygon, (P,); positive where its vertices run clockwise on the screen."""
    ends = np.cumsum(counts)
    first = ends - counts
    following = np.arange(1, len(x) + 1)
    following[ends - 1] = first
    area: Ints = np.add.reduceat(x * y[following] - x[following] * y, first)
    return area


def _row(fixed: Ints) -> Ints:
    """The first pixel whose centre is at or after a fixed-point coordinate."""
    return (fixed + (_HALF - 1)) // SUBPIXELS
