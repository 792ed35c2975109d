"""Where the parts are put together: what the commands call, and what a program may call instead."""

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zodi.adapt.settings import AdaptSettings as AdaptSettings
from zodi.adapting import AdaptResult as AdaptResult
from zodi.adapting import estimate_target as estimate_target
from zodi.adapting import run_adapt as run_adapt
from zodi.bench import BenchChoice as BenchChoice
from zodi.bench import bench_transfer as bench_transfer
from zodi.bench_segmenter import SegmenterBenchChoice as SegmenterBenchChoice
from zodi.bench_segmenter import bench_segmenter as bench_segmenter
from zodi.data import Dataset, Sample
from zodi.deploying import SegmenterChoice as SegmenterChoice
from zodi.deploying import export_segmenter as export_segmenter
from zodi.domains import Domain
from zodi.engines import Engine
from zodi.engines.segmenters import open_segmenter as open_segmenter
from zodi.errors import DataError, SettingsError, ZodiError
from zodi.exporting import ExportChoice as ExportChoice
from zodi.exporting import PlanChoice as PlanChoice
from zodi.exporting import export_engines as export_engines
from zodi.exporting import verify_engines as verify_engines
from zodi.opening import EngineChoice as EngineChoice
from zodi.opening import ModelChoice as ModelChoice
from zodi.opening import Notify, open_model
from zodi.predicting import predict_images as predict_images
from zodi.report.demo import demo_page as demo_page
from zodi.report.page import report as report
from zodi.transfer.card import write_card
from zodi.transfer.items import Item, in_shard, load_item, make_jobs
from zodi.transfer.log import open_log
from zodi.transfer.manifest import Manifest, manifest_name, read_rows
from zodi.transfer.output import check_output as check_output
from zodi.transfer.output import join_run
from zodi.transfer.pipeline import Run
from zodi.transfer.preview import write_preview
from zodi.transfer.results import write_result
from zodi.transfer.run import Progress, Transfer, repaint, transfer_dataset
from zodi.transfer.settings import TransferSettings, settings_hash
from zodi.transfer.signals import stop_on_signals

PREVIEW_ROWS = 8


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
    shard: tuple[int, int] | None = None,
    judge: Path | None = None,
    restart: bool = False,
    max_failures: int = 100,
    workers: int = 2,
    preview: Path | None = None,
    log: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    notify: Notify = lambda message: None,
) -> TransferResult:
    """Transfer a labelled data set to one or more domains; results go to `output/<domain>/<key>.png`.

    A run that was broken off goes on where it stopped: an image counts as done if it was made with the same settings
    from the same files and is on disk as it was written.

    limit         transfer only the first images, in the order of keys
    shard         (i, n): only the images of this share of n, by key; the shares together are the whole run
    judge         segmenter of the source domain, a checkpoint or an exported file, for layout scores
    restart       make every image again, also where the settings differ from those of the results that are there
    max_failures  more failed results than this end the run
    workers       threads that read ahead, and as many that write
    notify        told which engine was chosen, and what was made for it
    preview       write a PNG with source, control map and results of the first images there
    log           append one JSON object per event there

    Raises SettingsError, DataError, ModelError, EngineError and OutputError; results that are done stay.
    """
    model, engine, settings = model or ModelChoice(), engine or EngineChoice(), settings or TransferSettings()
    samples = _select(dataset, domains, limit)
    mine = [sample for sample in samples if shard is None or in_shard(sample.key, shard)]
    if judge is None and (settings.min_layout is not None or settings.mask_disagreement):
        raise SettingsError("--min-layout and --mask-disagreement need a judge: give a segmenter with --judge")
    check_output(output, dataset)
    start = time.perf_counter()
    with ExitStack() as stack:
        opened, info, tokenizer = stack.enter_context(
            open_model(model, engine, batch=settings.batch, image_size=settings.image_size, notify=notify)
        )
        judging = None if judge is None else _open_judge(judge, dataset, settings, opened.device)
        described = {
            d.name: settings.describe(d, info, _describe_engine(opened), judging and judging.hash) for d in domains
        }
        hashes = {name: settings_hash(table) for name, table in described.items()}
        jobs = make_jobs(
            domains, hashes, settings, run=opened.run, info=info, tokenizer=tokenizer, device=opened.device
        )
        manifest = stack.enter_context(Manifest(output / manifest_name(shard)))
        stopped = stack.enter_context(stop_on_signals())
        write_event = stack.enter_context(open_log(log))
        join_run(output, described, dataset, images=len(samples), restart=restart)
        write_event("start", domains=described, images=len(mine), shard=shard)

        @functools.cache
        def exact() -> Run:
            plain = EngineChoice("torch", "fp32", str(opened.device))
            run: Run = stack.enter_context(open_model(model, plain))[0].run
            return run

        try:
            progress = transfer_dataset(
                Transfer(
                    run=opened.run,
                    info=info,
                    device=opened.device,
                    settings=settings,
                    output=output,
                    label_set=dataset.label_set,
                    exact=exact if opened.precision != "fp32" and model.model is not None else None,
                    judge=judging,
                    log=write_event,
                ),
                dataset,
                mine,
                jobs,
                manifest=manifest,
                rows={} if restart else read_rows(output, hashes),
                max_failures=max_failures,
                workers=workers,
                stopped=stopped,
                on_progress=on_progress,
            )
        except ZodiError as error:
            write_event("stopped", error=str(error))
            raise
        manifest.sort()
        write_card(output)
        interrupted = stopped.exit_status if stopped() else None
        counts = {key: getattr(progress, key) for key in ("done", "skipped", "failed", "quarantined")}
        write_event("interrupted" if interrupted else "end", **counts)
    if preview is not None:
        names = [domain.name for domain in domains]
        write_preview(
            preview, dataset, mine[:PREVIEW_ROWS], output, names,
            palette=settings.palette, control_resize=settings.control_resize,
        )  # fmt: skip
    return TransferResult(output, progress, time.perf_counter() - start, interrupted)


def estimate_transfer(
    dataset: Dataset,
    domains: Sequence[Domain],
    *,
    model: ModelChoice | None = None,
    engine: EngineChoice | None = None,
    settings: TransferSettings | None = None,
    limit: int | None = None,
    notify: Notify = lambda message: None,
) -> TransferEstimate:
    """What `run_transfer` would need: transfers one batch, twice (the first warms up), and keeps nothing.

    Raises as `run_transfer`, and DataError where the first images cannot be read.
    """
    model, engine, settings = model or ModelChoice(), engine or EngineChoice(), settings or TransferSettings()
    samples = _select(dataset, domains, limit)
    with (
        open_model(model, engine, batch=settings.batch, image_size=settings.image_size, notify=notify) as (
            opened,
            info,
            tokenizer,
        ),
        tempfile.TemporaryDirectory() as scratch,
    ):
        output = Path(scratch)
        hashes = {domain.name: "" for domain in domains}
        jobs = make_jobs(
            domains, hashes, settings, run=opened.run, info=info, tokenizer=tokenizer, device=opened.device
        )
        transfer = Transfer(opened.run, info, opened.device, settings, output, dataset.label_set)
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
            for result in repaint(transfer, batch, jobs, settings.batch):
                write_result(result, settings, dataset.label_set, output)
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


def _select(dataset: Dataset, domains: Sequence[Domain], limit: int | None) -> Sequence[Sample]:
    names = [domain.name for domain in domains]
    if not names:
        raise SettingsError("no domain is given: name at least one with --domain")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"the domain {twice!r} is given twice: each domain has a folder of its own name")
    return dataset.samples[:limit]


def _open_judge(model: Path, dataset: Dataset, settings: TransferSettings, device: torch.device) -> Any:
    from zodi.segmenter.judge import open_judge

    return open_judge(model, dataset.label_set, device, confident=settings.mask_disagreement)


def _describe_engine(engine: Engine) -> dict[str, str]:
    return {"engine": engine.name, "precision": engine.precision, "device": engine.device.type}
