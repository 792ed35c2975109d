"""A sheet of results to look at: source, control map and one column per domain."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from zodi.data import Dataset, Sample, read_image, read_label
from zodi.errors import DataError
from zodi.files import write_atomic
from zodi.transfer.images import ControlResize, Rgb, control_image, resize_image
from zodi.transfer.items import result_path
from zodi.transfer.results import encode_png

HEADER, GAP = 16, 4  # pixels


def write_preview(
    path: Path,
    dataset: Dataset,
    samples: Sequence[Sample],
    output: Path,
    domains: Sequence[str],
    *,
    palette: str = "cityscapes",
    control_resize: ControlResize = "nearest",
    last: tuple[str, Callable[[str], Rgb]] | None = None,
) -> int:
    """Write a PNG with a row per sample that has results and can be read; returns how many (0: nothing is written).

    last  title of one more column, and what gives its picture for a key
    """
    rows: list[list[Rgb]] = []
    for sample in samples:
        found = [result_path(output, domain, sample.key) for domain in domains]
        if not all(file.is_file() for file in found):
            continue
        try:
            results = [read_image(file) for file in found]
            image, ids = read_image(sample.image), read_label(dataset, sample)
        except DataError:  # a file that was changed or damaged since: the others are worth looking at
            continue
        size = (results[0].shape[0], results[0].shape[1])
        control = control_image(ids, dataset.label_set, size, palette=palette, resize=control_resize)
        more = [] if last is None else [last[1](sample.key)]
        rows.append([resize_image(image, size), control, *results, *more])
    titles = ["source", "control map", *domains, *([] if last is None else [last[0]])]
    if rows:
        write_atomic(path, encode_png(sheet(rows, titles)))
    return len(rows)


def sheet(rows: Sequence[Sequence[Rgb]], titles: Sequence[str]) -> Rgb:
    """Images (h, w, 3) in rows under titles; each column is as wide as its widest image."""
    widths = [max(row[i].shape[1] for row in rows) for i in range(len(titles))]
    heights = [max(image.shape[0] for image in row) for row in rows]
    canvas = Image.new("RGB", (sum(widths) + GAP * (len(widths) - 1), HEADER + sum(h + GAP for h in heights)), "white")
    draw = ImageDraw.Draw(canvas)
    for i, title in enumerate(titles):
        draw.text((sum(widths[:i]) + GAP * i + 2, 2), title, fill="black")
    top = HEADER
    for row, height in zip(rows, heights, strict=True):
        for i, image in enumerate(row):
            canvas.paste(Image.fromarray(image), (sum(widths[:i]) + GAP * i, top))
        top += height + GAP
    return np.asarray(canvas)
