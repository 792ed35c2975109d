"""Trainings, evaluations and benchmarks as sections."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zodi.data import read_image
from zodi.errors import DataError, OutputError
from zodi.report.blocks import Bar, Bars, Block, Facts, Picture, Section, Table, per_cent
from zodi.report.pictures import photo, png_file


def training_section(directory: Path) -> Section:
    """A checkpoint directory of `zodi adapt`: learning curves, confusion, settings, versions."""
    record = read_json(directory / "train.json")
    settings = record["settings"]
    blocks: list[Block] = [
        Picture(png_file(directory / name), text)
        for name, text in (("curves.png", "Learning curves"), ("confusion.png", "Confusion of images kept out"))
        if (directory / name).is_file()
    ]
    blocks += [Facts(flatten(record[part]), part) for part in ("settings", "data", "versions")]
    baseline, domains = settings.get("baseline"), settings.get("domains")
    what = f"baseline {baseline}" if baseline else f"adapted to {', '.join(domains)}" if domains else "source only"
    return Section(
        f"Segmenter: {directory.name}", f"{settings['architecture']} on {settings['encoder']}, {what}.", blocks
    )


def evaluation_section(directory: Path) -> Section:
    """An output of `zodi evaluate -o`: IoU by class, overlays, confusion."""
    content = read_json(directory / "evaluation.json")
    blocks: list[Block] = [scores_table(content["results"])]
    broken: list[tuple[str, str]] = []
    for path in sorted((directory / "overlays").rglob("*.png"))[:8]:
        try:
            blocks.append(Picture(photo(read_image(path)), f"{path.stem}: image, truth, prediction"))
        except DataError as error:
            broken.append((path.stem, str(error)))
    blocks += [Facts(broken, "Files that cannot be read")] if broken else []
    blocks += [Picture(png_file(path), path.stem) for path in sorted(directory.glob("confusion-*.png"))]
    return Section(f"Evaluation: {directory.name}", f"{content['model']}, scale {content['scale']}.", blocks)


def bench_section(path: Path) -> Section:
    """The JSON of a `zodi bench`: all rows, and speed as bars."""
    content = read_json(path)
    rows = content["rows"]
    head = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(head, [[cell(row.get(key)) for key in head] for row in rows])
    blocks: list[Block] = [speed_bars(rows), table, Facts(flatten(content.get("machine", {})), "Machine")]
    return Section(f"Benchmark: {path.name}", "Measured in one run on one machine.", blocks)


def file_section(directory: Path) -> Section:
    """An output of `zodi export-segmenter`: its report.json."""
    return Section(f"Exported segmenter: {directory.name}", "", [Facts(flatten(read_json(directory / "report.json")))])


def scores_table(results: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Table:
    """Results of `zodi evaluate` side by side, in per cent; names: of the columns, else the data sets'."""
    titles = names or [" ".join(filter(None, (r["dataset"], r["condition"]))) for r in results]
    rows = [[name, *(per_cent(r["iou"][name]) for r in results)] for name in results[0]["iou"]]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    rows.append(["mean IoU", *(per_cent(r["miou"]) for r in results)])
    rows.append(["pixel accuracy", *(per_cent(r["pixel_accuracy"]) for r in results)])
    return Table(["IoU, %", *titles], rows)


def speed_bars(rows: Sequence[dict[str, Any]]) -> Bars:
    """Images per second of each row that ran."""
    keys = ("engine", "format", "precision", "batch")
    found = [
        (" ".join(str(row[k]) for k in keys if k in row), row["images_per_s"])
        for row in rows
        if row.get("images_per_s")
    ]
    most = max((value for _, value in found), default=1.0)
    return Bars([Bar(name, value / most, f"{value:.3g}") for name, value in found], "Images per second")


def flatten(content: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON as names and values; lists of plain values on one line."""
    if isinstance(content, dict):
        return [row for key, value in content.items() for row in flatten(value, f"{prefix}{key} ")]
    if isinstance(content, list) and any(isinstance(item, dict) for item in content):
        return [row for i, item in enumerate(content) for row in flatten(item, f"{prefix}{i + 1} ")]
    if isinstance(content, list):
        return [(prefix.strip(), ", ".join(cell(item) for item in content))]
    return [] if content is None else [(prefix.strip(), cell(content))]


def read_json(path: Path) -> Any:
    """A JSON file; OutputError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}): run its command again") from None


def cell(value: Any) -> str:
    """A value of JSON as text; a dash for null."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
