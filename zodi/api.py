"""Where the parts are put together: what the commands call, and what a program may call instead."""

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from zodi import __version__
from zodi.data import Dataset
from zodi.domains import Domain
from zodi.engines import Engine, open_engine
from zodi.engines.components import load_components
from zodi.errors import DataError, OutputError, SettingsError
from zodi.model import ModelInfo
from zodi.town import bundled
from zodi.transfer.items import Item, load_item, make_jobs
from zodi.transfer.manifest import MANIFEST, Manifest, read_rows
from zodi.transfer.preview import write_preview
from zodi.transfer.run import Progress, Transfer, transfer_batch, transfer_dataset
from zodi.transfer.settings import RUN_FILE, TransferSettings, difference, read_run, settings_hash, write_run
from zodi.transfer.signals import stop_on_signals

PREVIEW_ROWS = 8


@dataclass(frozen=True)
class ModelChoice:
    """A diffusion model: "town" (bundled), a hub id or a directory; see `zodi.engines.components.load_components`."""

    model: str = bundled.NAME
    controlnet: str | None = None
    variant: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class EngineChoice:
    """What the model runs on; see `zodi.engines.open_engine`."""

    engine: str = "torch"
    precision: str = "fp32"
    device: str = "auto"


@dataclass(frozen=True)
class TransferResult:
    """What a run did: counts of results (images times domains), and the exit status if a signal ended it."""

    output: Path
    progress: Progress
    seconds: float
    interrupted: int | None


@dataclass(frozen=True)
class TransferEstimate:
    """What a run would do, from one batch that was transferred and thrown away.

    results  images times domains
    bytes    disk space of all results
    seconds  of the engine for all results
    """

    images: int
    results: int
    size: tuple[int, int]
    bytes: int
    seconds: float


def run_transfer(
    dataset: Dataset,
    output: Path,
    domains: Sequence[Domain],
    *,
    model: ModelChoice | None = None,
    engine: EngineChoice | None = None,
    settings: TransferSettings | None = None,
    limit: int | None = None,
    restart: bool = False,
    max_failures: int = 100,
    workers: int = 2,
    preview: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> TransferResult:
    """Transfer a labelled data set to one or more domains; results go to `output/<domain>/<key>.png`.

    A run that was broken off goes on where it stopped: an image counts as done if it was made with the same settings
    from the same files and is on disk as it was written.

    limit         transfer only the first images, in the order of keys
    restart       make every image again, also where the settings differ from those of the results that are there
    max_failures  more failed results than this end the run
    preview       write a PNG with source, control map and results of the first images there

    Raises SettingsError, DataError, ModelError, EngineError and OutputError; results that are done stay.
    """
    model, engine, settings = model or ModelChoice(), engine or EngineChoice(), settings or TransferSettings()
    samples = _select(dataset, domains, limit)
    check_output(output, dataset)
    start = time.perf_counter()
    with _open_model(model, engine) as (opened, info, tokenizer):
        described = {d.name: settings.describe(d, info, _describe_engine(opened)) for d in domains}
        hashes = {name: settings_hash(table) for name, table in described.items()}
        jobs = make_jobs(
            domains, hashes, settings, run=opened.run, info=info, tokenizer=tokenizer, device=opened.device
        )
        run = _merge_run(output, described, dataset, restart=restart)
        with Manifest(output / MANIFEST) as manifest, stop_on_signals() as stopped:
            rows = {} if restart else read_rows(output)
            write_run(output, run)
            progress = transfer_dataset(
                Transfer(opened.run, info, opened.device, settings, output),
                dataset,
                samples,
                jobs,
                manifest=manifest,
                rows=rows,
                max_failures=max_failures,
                workers=workers,
                stopped=stopped,
                on_progress=on_progress,
            )
            manifest.sort()
    if preview is not None:
        names = [domain.name for domain in domains]
        write_preview(
            preview, dataset, samples[:PREVIEW_ROWS], output, names,
            palette=settings.palette, control_resize=settings.control_resize,
        )  # fmt: skip
    interrupted = stopped.exit_status if stopped() else None
    return TransferResult(output, progress, time.perf_counter() - start, interrupted)


def estimate_transfer(
    dataset: Dataset,
    domains: Sequence[Domain],
    *,
    model: ModelChoice | None = None,
    engine: EngineChoice | None = None,
    settings: TransferSettings | None = None,
    limit: int | None = None,
) -> TransferEstimate:
    """What `run_transfer` would need: transfers one batch, twice (the first warms up), and keeps nothing.

    Raises as `run_transfer`, and DataError where the first images cannot be read.
    """
    model, engine, settings = model or ModelChoice(), engine or EngineChoice(), settings or TransferSettings()
    samples = _select(dataset, domains, limit)
    with (
        _open_model(model, engine) as (opened, info, tokenizer),
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(1) as writers,
    ):
        output = Path(scratch)
        hashes = {domain.name: "" for domain in domains}
        jobs = make_jobs(
            domains, hashes, settings, run=opened.run, info=info, tokenizer=tokenizer, device=opened.device
        )
        transfer = Transfer(opened.run, info, opened.device, settings, output)
        batch: list[Item] = []
        for sample in samples[: settings.batch]:
            item = load_item(dataset, sample, jobs, output=output, rows={}, info=info, settings=settings)
            if isinstance(item, DataError):
                raise item
            if item is not None and (not batch or item.image.shape == batch[0].image.shape):
                batch.append(item)
        seconds = 0.0
        for _ in range(2):
            start = time.perf_counter()
            for row in transfer_batch(transfer, batch, jobs, writers):
                row.result()
            seconds = time.perf_counter() - start
        written = [path.stat().st_size for path in output.rglob("*.png")]
    results = len(samples) * len(domains)
    height, width = batch[0].image.shape[1:]
    return TransferEstimate(
        images=len(samples),
        results=results,
        size=(height, width),
        bytes=round(results * sum(written) / max(len(written), 1)),
        seconds=seconds / (len(batch) * len(jobs)) * results,
    )


def check_output(output: Path, dataset: Dataset) -> None:
    """Raise OutputError where results cannot go there: inside the data set, a file, or a foreign folder's content."""
    resolved, root = output.resolve(), dataset.root.resolve()
    if resolved == root or root in resolved.parents:
        raise OutputError(f"{output}: lies inside the data set {dataset.root}: choose a place outside it")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file: give a folder with -o")
    if output.is_dir() and not (output / RUN_FILE).is_file():
        found = next((path for path in sorted(output.iterdir()) if not path.name.startswith(MANIFEST)), None)
        if found is not None and not found.name.endswith(".tmp"):
            raise OutputError(
                f"{output}: holds {found.name!r} and no {RUN_FILE}: it is not a transfer's, choose another -o"
            )


def versions() -> dict[str, str]:
    """Versions of zodi, Python and the packages whose results depend on them."""
    names = ("torch", "diffusers", "transformers", "numpy", "pillow")
    return {"zodi": __version__, "python": platform.python_version()} | {n: metadata.version(n) for n in names}


def _select(dataset: Dataset, domains: Sequence[Domain], limit: int | None) -> Sequence[Any]:
    names = [domain.name for domain in domains]
    if not names:
        raise SettingsError("no domain is given: name at least one with --domain")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"the domain {twice!r} is given twice: each domain has a folder of its own name")
    return dataset.samples[:limit]


@contextmanager
def _open_model(model: ModelChoice, engine: EngineChoice) -> Iterator[tuple[Engine, ModelInfo, Any]]:
    """The engine on the model, what is known of the model, and its tokenizer."""
    path = str(bundled.DIRECTORY) if model.model == bundled.NAME else model.model
    components = load_components(path, model.controlnet, variant=model.variant, revision=model.revision)
    with open_engine(components, engine.engine, precision=engine.precision, device=engine.device) as opened:
        yield opened, components.info, components.tokenizer


def _describe_engine(engine: Engine) -> dict[str, str]:
    return {"engine": engine.name, "precision": engine.precision, "device": engine.device.type}


def _merge_run(
    output: Path, described: dict[str, dict[str, Any]], dataset: Dataset, *, restart: bool
) -> dict[str, Any]:
    """The new run.json: other domains in the same output are kept; OutputError where settings of this run differ."""
    before = {"domains": {}} if restart and not _is_whole(output) else read_run(output)
    for name, new in described.items():
        changed = difference(before["domains"][name], new) if name in before["domains"] else None
        if changed is not None and not restart:
            raise OutputError(
                f"{output}: has results of domain {name!r} made with other settings ({changed}): "
                "use --restart to make them again, or another -o"
            )
    source = {
        "dataset": dataset.name,
        "root": str(dataset.root.resolve()),
        "split": dataset.split,
        "condition": dataset.condition,
        "labels": dataset.labels,
        "label_set": dataset.label_set.name,
    }
    return {"versions": versions(), "source": source, "domains": before["domains"] | described}


def _is_whole(output: Path) -> bool:
    try:
        read_run(output)
    except OutputError:
        return False
    return True
