"""A transfer's output as a section: counts, agreement by class, the worst results and some of the others."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zodi.data import Dataset, open_dataset, read_image, read_label
from zodi.data.dataset import Sample
from zodi.errors import DataError, SettingsError
from zodi.report.blocks import Block, Facts, Gallery, Section, Shot, Table, per_cent
from zodi.report.pictures import drawing, photo
from zodi.transfer.images import control_image, resize_image
from zodi.transfer.items import result_path
from zodi.transfer.manifest import Row, read_rows
from zodi.transfer.settings import read_run
from zodi.transfer.status import transfer_status

COUNTS = ("done", "quarantined", "failed", "missing")
SCORES = {"layout": "layout agreement", "edges": "edge agreement", "distance": "distance to the source"}


def transfer_section(output: Path, *, images: int) -> Section:
    """Results of a transfer, worst layout agreement first; without a judge worst edge agreement.

    images  how many results are shown: half of them the worst, half drawn at random from the rest

    Raises OutputError where there is no run.
    """
    run, status = read_run(output), transfer_status(output)
    names = list(run["domains"])
    rows = read_rows(output, {name: run["domains"][name]["hash"] for name in names})
    made = [row for row in rows.values() if row.domain in names and row.status != "failed"]
    blocks: list[Block] = [_counts(status["domains"])]
    if any("classes" in domain["scores"] for domain in status["domains"].values()):
        blocks.append(_classes(status["domains"]))
    worst, others = choose(made, images)
    sources = {name: _source(run["domains"][name]["source"]) for name in names}
    missing = sorted({str(run["domains"][name]["source"]["root"]) for name in names if sources[name] is None})
    broken: list[tuple[str, str]] = []
    for text, chosen in (("Worst agreement with the label first.", worst), ("Drawn at random from the rest.", others)):
        shots = [shot for row in chosen if (shot := _shot(output, row, run, sources[row.domain], broken))]
        if shots:
            blocks.append(Gallery(shots, f"{text} {len(shots)} of {len(made)} results."))
    if broken:
        blocks.append(Facts(broken, "Files that cannot be read"))
    failures = [(row.key, row.error or "") for row in rows.values() if row.status == "failed"]
    if failures:
        blocks.append(Facts(failures[:20], f"The first of {len(failures)} failures"))
    blocks += [_settings(name, run["domains"][name]["settings"]) for name in names]
    blocks.append(Facts([*run["versions"].items()], "Versions"))
    note = f" The source images are not at {', '.join(missing)} any more: results are shown alone." if missing else ""
    return Section(f"Transfer: {output.name}", f"Synthetic images of {', '.join(names)}.{note}", blocks)


def choose(rows: Sequence[Row], count: int) -> tuple[list[Row], list[Row]]:
    """The worst half of `count` results, and as many others, always the same ones."""
    ranked = sorted(rows, key=lambda row: (_agreement(row), row.domain, row.key))
    worst = ranked[: (count + 1) // 2]
    rest = ranked[len(worst) :]
    return worst, random.Random(0).sample(rest, min(count // 2, len(rest)))


def _agreement(row: Row) -> float:
    scores = row.scores or {}
    return float(scores.get("layout", scores.get("edges", 0.0)))


def _counts(domains: dict[str, Any]) -> Table:
    head = ["domain", *COUNTS, "images/s", *SCORES.values()]
    rows = []
    for name, domain in domains.items():
        scores = [domain["scores"].get(key) for key in SCORES]
        rate = domain["images_per_s"]
        rows.append(
            [name, *(str(domain[key]) for key in COUNTS), "-" if rate is None else f"{rate:.2f}"]
            + ["-" if value is None else f"{value:.2f}" for value in scores]
        )
    return Table(head, rows)


def _classes(domains: dict[str, Any]) -> Table:
    found = {name: domain["scores"].get("classes", {}) for name, domain in domains.items()}
    names = sorted({name for classes in found.values() for name in classes})
    rows = [[name, *(per_cent(classes.get(name)) for classes in found.values())] for name in names]
    return Table(["class", *found], rows, "The judge's IoU on results, by class, %")


def _settings(name: str, settings: dict[str, Any]) -> Facts:
    return Facts([(key, str(value)) for key, value in settings.items() if value is not None], f"Settings of {name}")


def _source(source: dict[str, Any]) -> tuple[Dataset, dict[str, Sample]] | None:
    """The source data set and its samples by key; None where it is gone."""
    try:
        dataset = open_dataset(
            source["dataset"], Path(source["root"]), split=source["split"], condition=source["condition"],
            labels=source["labels"], label_set=source["label_set"],
        )  # fmt: skip
    except (DataError, SettingsError):
        return None
    return dataset, {sample.key: sample for sample in dataset.samples}


def _shot(
    output: Path,
    row: Row,
    run: dict[str, Any],
    source: tuple[Dataset, dict[str, Sample]] | None,
    broken: list[tuple[str, str]],
) -> Shot | None:
    """A result beside its source; files that cannot be read are added to `broken`, and the rest is shown."""
    path = result_path(output, row.domain, row.key, quarantined=row.status == "quarantined")
    if not path.is_file():
        return None
    try:
        result = read_image(path)
    except DataError as error:
        broken.append((row.key, str(error)))
        return None
    found = row.scores or {}
    scores = ", ".join(f"{text} {found[key]:.2f}" for key, text in SCORES.items() if key in found)
    note = f"{row.domain}{', quarantined' if row.status == 'quarantined' else ''}: {scores}"
    sample = source[1].get(row.key) if source else None
    if source is None or sample is None:
        return Shot(row.key, photo(result), note=note)
    settings = run["domains"][row.domain]["settings"]
    size = (result.shape[0], result.shape[1])
    try:
        image, ids = read_image(sample.image), read_label(source[0], sample)
    except DataError as error:
        broken.append((row.key, str(error)))
        return Shot(row.key, photo(result), note=note)
    control = control_image(
        ids, source[0].label_set, size, palette=settings["palette"], resize=settings["control_resize"]
    )
    before = photo(resize_image(image, size))
    return Shot(row.key, photo(result), before, note, [("control map", drawing(control))])
