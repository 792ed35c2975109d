"""Whole runs for the tests of `zodi.transfer`, with something between the engine and the run."""

import json
from pathlib import Path

from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.engines import open_engine
from zodi.engines.components import load_components
from zodi.transfer.batches import Transfer
from zodi.transfer.items import make_jobs
from zodi.transfer.manifest import Manifest, read_rows
from zodi.transfer.run import transfer_dataset
from zodi.transfer.settings import TransferSettings

NIGHT = PRESETS["night"]


def run_with(root, output, model, wrap, *, batch=4, exact=True, judge=None):
    """A run whose engine is the real one behind `wrap(run)`; `exact` gives it the plain one to fall back to."""
    components = load_components(str(model))
    dataset = open_dataset("folder", root)
    settings = TransferSettings(batch=batch, steps=4)
    events: list[tuple[str, dict]] = []
    with (
        open_engine(components, "torch", device="cpu") as engine,
        Manifest(output / "manifest.jsonl") as manifest,
    ):
        jobs = make_jobs(
            [NIGHT], {NIGHT.name: "hash"}, settings,
            run=engine.run, info=components.info, tokenizer=components.tokenizer, device=engine.device,
        )  # fmt: skip
        transfer = Transfer(
            run=wrap(engine.run),
            info=components.info,
            device=engine.device,
            settings=settings,
            output=output,
            label_set=dataset.label_set,
            exact=(lambda: engine.run) if exact else None,
            judge=judge,
            log=lambda event, **fields: events.append((event, fields)),
        )
        transfer_dataset(
            transfer, dataset, dataset.samples, jobs, manifest=manifest, rows={}, max_failures=100, workers=2,
            stopped=lambda: False, on_progress=lambda progress: None,
        )  # fmt: skip
    return read_rows(output, {}), events


def images(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*.png"))}


def outcome(output: Path) -> dict[str, object]:
    """All files; the manifest's rows in order, without times."""
    files: dict[str, object] = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if name == "manifest.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            files[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        elif path.is_file():
            files[name] = path.read_bytes()
    return files
