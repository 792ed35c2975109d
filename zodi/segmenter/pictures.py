"""Pictures of an evaluation: image, truth and prediction side by side, and the confusion matrix."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from zodi.files import utf8, write_atomic
from zodi.labels import Colour
from zodi.segmenter.images import Pixels

if TYPE_CHECKING:
    from zodi.segmenter.evaluate import Score

ALPHA = 0.6  # of the class colours over the image
GAP = 4  # pixels between the three
ROWS = 256  # that are mixed at a time


def overlay(image: Pixels, ids: Pixels, palette: tuple[Colour, ...]) -> Pixels:
    """Class colours over an image (H, W, 3); void stays as it is."""
    colours = np.zeros((256, 3), np.float32)
    colours[: len(palette)] = palette
    shown = image.copy()
    for top in range(0, len(image), ROWS):  # in parts: a mixture takes eight times the memory of the image
        part, where = image[top : top + ROWS], ids[top : top + ROWS]
        mixed = (1 - ALPHA) * part + ALPHA * colours[where]
        shown[top : top + ROWS] = np.where((where < len(palette))[..., None], mixed.round(), part)
    return shown


def write_overlay(path: Path, image: Pixels, truth: Pixels, prediction: Pixels, palette: tuple[Colour, ...]) -> None:
    """Write image, truth and prediction (H, W, 3), (H, W), (H, W) side by side as PNG."""
    gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
    row = np.concatenate([image, gap, overlay(image, truth, palette), gap, overlay(image, prediction, palette)], axis=1)
    content = io.BytesIO()
    Image.fromarray(row).save(content, "PNG")
    write_atomic(path, content.getvalue(), sync=False)


def write_confusion(path: Path, score: "Score") -> None:
    """Write the confusion matrix as PNG: rows = truth, each row in per cent of its pixels, absent classes left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = np.flatnonzero(score.counts.sum(axis=1) + score.counts.sum(axis=0))
    names = [score.classes[i] for i in present]
    counts = score.counts[np.ix_(present, present)]
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(100.0 * counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)
    side = 2.5 + 0.38 * max(len(names), 1)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(np.nan_to_num(share), vmin=0, vmax=100, cmap="Blues")
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.5:
            colour = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth, % of its pixels")
    title = f"{score.name}{f', {score.condition}' if score.condition else ''}: {score.images} images"
    axes.set_title(utf8(title).decode())  # a folder's name may be in any encoding
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomic(path, content.getvalue(), sync=False)
