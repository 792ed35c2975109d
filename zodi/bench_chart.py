"""A bar chart of a benchmark."""

import io
from collections.abc import Mapping
from pathlib import Path

from zodi.files import write_atomic


def draw_bars(path: Path, values: Mapping[str, float], title: str) -> None:
    """Write a PNG with one horizontal bar per name, in the given order, its value beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.45 * len(values)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(values), list(values.values()))
    axes.bar_label(bars, fmt="{:.4g}", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())
