"""Learning curves of a training as a picture: the terms of its loss, the learning rate, and validation scores."""

import csv
import io
from pathlib import Path

import numpy as np

from zodi.adapt.validation import read_log
from zodi.files import write_atomic
from zodi.segmenter.state import LOG

CURVES = "curves.png"
SMOOTH = 50  # points that a curve has at most, each the mean of its share of the steps


def write_curves(directory: Path) -> None:
    """Draw train.csv, and validation.csv where it is, of a training into curves.png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with (directory / LOG).open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(row["step"]) for row in rows])
    names = [name for name in rows[0] if name not in ("step", "epoch", "lr", "encoder_lr")]
    scores = read_log(directory)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    parts = np.array_split(np.arange(len(rows)), min(SMOOTH, len(rows)))
    for name in names:
        values = np.array([float(row[name]) for row in rows])
        left.plot([steps[part].mean() for part in parts], [values[part].mean() for part in parts], label=name)
    left.set_xlabel("step")
    left.set_title("terms of the loss")
    left.legend()
    if scores:
        right.plot([step for step, _ in scores], [100 * score for _, score in scores], marker="o", markersize=3)
        right.set_title("mean IoU of images kept out, %")
    else:
        right.plot(steps, [float(row["lr"]) for row in rows])
        right.set_title("learning rate")
    right.set_xlabel("step")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomic(directory / CURVES, content.getvalue(), sync=False)
