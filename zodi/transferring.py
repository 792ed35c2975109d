"""`zodi transfer` as functions: where data set, model, engine, judge and output of a run are put together."""

import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from zodi.data import Dataset, Sample
from zodi.data.label_meaning import check_labels
from zodi.domains import Domain
from zodi.errors import DataError, EngineError, SettingsError, ZodiError
from zodi.memory import is_out_of_memory
from zodi.opening import EngineChoice, FoundModel, ModelChoice, Notify
from zodi.recipe import Recipe, absolute, open_recipe, open_same
from zodi.transfer.batches import repaint
from zodi.transfer.card import write_card
from zodi.transfer.items import Item, Target, in_shard, load_item
from zodi.transfer.log import open_log
from zodi.transfer.manifest import Manifest, manifest_name, read_rows
from zodi.transfer.output import check_output, hold_shared, join_run
from zodi.transfer.preview import write_preview
from zodi.transfer.progress import Progress
from zodi.transfer.results import write_result
from zodi.transfer.run import transfer_dataset
from zodi.transfer.settings import TransferSettings, settings_hash
from zodi.transfer.signals import stop_on_signals

PREVIEW_ROWS = 8
LOOKED_AT = 4  # images for each place in the batch of an estimate


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
    seconds  of engine and judge for all results
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
    ray: str | None = None,
    workers: int | None = None,
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
    ray           "local", or HOST:PORT of a Ray cluster: transfer there, see `zodi.transfer.ray`
    workers       threads that read ahead, and as many that write; None: 2. On Ray engines; None: one per GPU or node
    notify        told which engine was chosen, and what was made for it
    preview       write a PNG with source, control map and results of the first images there
    log           append one JSON object per event there

    Raises SettingsError, DataError, ModelError, EngineError and OutputError; results that are done stay.
    """
    domains = tuple(domains)
    samples = _select(dataset, domains, limit)
    mine = _share(samples, shard)
    recipe = Recipe(
        domains,
        model or ModelChoice(),
        engine or EngineChoice(),
        settings or TransferSettings(),
        dataset.label_set,
        judge,
    )
    settings = recipe.settings
    if judge is None and (settings.min_layout is not None or settings.mask_disagreement):
        raise SettingsError("--min-layout and --mask-disagreement need a judge: give a segmenter with --judge")
    check_output(output, dataset)
    allowed = max_failures // len(domains)  # images, of which each is a result in every domain
    find = functools.partial(Recipe.find_for, dataset=dataset, samples=mine, allowed=allowed, notify=notify)
    _warn(domains, notify)
    check_labels(dataset, notify)
    start = time.perf_counter()
    with ExitStack() as stack:
        write_event = stack.enter_context(open_log(log, notify))
        if ray is None:
            prepared = _prepare_here(recipe, dataset, output, workers or 2, write_event, notify, find)
        else:
            prepared = _prepare_on_ray(recipe, dataset, output, ray, workers, write_event, find)
        described, work = stack.enter_context(prepared)
        hashes = {name: settings_hash(table) for name, table in described.items()}
        manifest = stack.enter_context(Manifest(output / manifest_name(shard), notify))
        stopped = stack.enter_context(stop_on_signals())
        join_run(output, described, dataset, images=len(samples), restart=restart)
        write_event("start", domains=described, images=len(mine), shard=shard)
        try:
            progress = work(
                samples=mine,
                manifest=manifest,
                rows={} if restart else read_rows(output, hashes),
                max_failures=max_failures,
                stopped=stopped,
                on_progress=on_progress,
            )
        except ZodiError as error:
            write_event("stopped", error=str(error))
            raise
        manifest.sort()
        with hold_shared(output):
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
    shard: tuple[int, int] | None = None,
    judge: Path | None = None,
    max_failures: int = 100,
    notify: Notify = lambda message: None,
) -> TransferEstimate:
    """What `run_transfer` would need: transfers one batch, twice (the first warms up), and keeps nothing.

    Images that cannot be read are left out. Raises as `run_transfer`, DataError where none can be read, and EngineError
    where a batch does not fit into memory, which a run would make smaller.
    """
    recipe = Recipe(
        tuple(domains),
        model or ModelChoice(),
        engine or EngineChoice(),
        settings or TransferSettings(),
        dataset.label_set,
        judge,
    )
    settings = recipe.settings
    samples = _share(_select(dataset, domains, limit), shard)
    _warn(recipe.domains, notify)
    check_labels(dataset, notify)
    if not samples:
        raise SettingsError(f"shard {shard}: has none of the images: nothing to estimate")
    found = recipe.find_for(dataset, samples, allowed=max_failures // len(recipe.domains), notify=notify)
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_recipe(recipe, Path(scratch), found=found, notify=notify) as opened,
    ):
        transfer, jobs, output = opened.transfer, opened.jobs, opened.transfer.output
        load = functools.partial(load_item, dataset, output=output, rows={}, info=transfer.info, settings=settings)
        batch = _first_batch((load(sample, jobs) for sample in samples), settings.batch)
        seconds = 0.0
        for _ in range(2):
            start = time.perf_counter()
            try:
                for result in repaint(transfer, batch, jobs, settings.batch):
                    write_result(result, settings, dataset.label_set, output)
            except Exception as error:  # each runtime has its own class for a full memory; the rest goes on up
                if not is_out_of_memory(error):
                    raise
                raise EngineError(
                    f"out of memory at batch {settings.batch}: use a smaller --batch or --image-size; a run halves the "
                    "batch by itself"
                ) from None
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


def _first_batch(loaded: Iterable[Item | DataError | None], size: int) -> list[Item]:
    """The first images that can be read, of one shape. Raises DataError where there is none."""
    batch: list[Item] = []
    error: DataError | None = None
    for item in itertools.islice(loaded, LOOKED_AT * size):
        if isinstance(item, DataError):
            error = error or item
        elif item is not None and (not batch or item.image.shape == batch[0].image.shape):
            batch.append(item)
        if len(batch) == size:
            break
    if not batch and error is not None:
        raise error
    return batch


Find = Callable[[Recipe], FoundModel]
Prepared = tuple[dict[str, dict[str, Any]], Callable[..., Progress]]  # settings by domain, and what runs them


@contextmanager
def _prepare_here(
    recipe: Recipe, dataset: Dataset, output: Path, workers: int, log: Callable[..., None], notify: Notify, find: Find
) -> Iterator[Prepared]:
    with open_recipe(recipe, output, found=find(recipe), log=log, notify=notify) as opened:
        work = functools.partial(transfer_dataset, opened.transfer, dataset, jobs=opened.jobs, workers=workers)
        yield opened.described, work


@contextmanager
def _prepare_on_ray(
    recipe: Recipe,
    dataset: Dataset,
    output: Path,
    address: str,
    workers: int | None,
    log: Callable[..., None],
    find: Find,
) -> Iterator[Prepared]:
    try:
        from zodi.transfer.ray import connect, transfer_on_ray
        from zodi.transfer.ray_stages import Setup
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("ray", "pyarrow"):
            raise
        raise EngineError(f"--ray needs the package {error.name}: pip install 'zodi[ray]'") from None
    with connect(address, recipe.engine.device, workers) as cluster:
        threads = recipe.engine.threads or cluster.threads
        recipe = replace(recipe, engine=replace(recipe.engine, device=cluster.device, threads=threads))
        found = find(recipe)  # the engines are opened where there may be GPUs; here it is only looked at
        recipe = replace(recipe, engine=replace(recipe.engine, engine=found.engine))
        judge = recipe.open_judge(torch.device("cpu"))
        described = recipe.describe(found, recipe.engine.precision, cluster.device, judge)
        setup = Setup(
            dataset=replace(dataset, root=dataset.root.absolute(), samples=(), problems=()),
            output=output.absolute(),
            info=found.info,
            settings=recipe.settings,
            targets=tuple(Target(name, settings_hash(table)) for name, table in described.items()),
            open=functools.partial(open_same, absolute(recipe), described, found.files),
        )
        yield described, functools.partial(transfer_on_ray, setup, cluster, log=log)


def _select(dataset: Dataset, domains: Sequence[Domain], limit: int | None) -> Sequence[Sample]:
    names = [domain.name for domain in domains]
    if not names:
        raise SettingsError("no domain is given: name at least one with --domain")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"the domain {twice!r} is given twice: each domain has a folder of its own name")
    return dataset.samples[:limit]


def _warn(domains: Sequence[Domain], notify: Notify) -> None:
    for domain in domains:
        if domain.warning is not None:
            notify(domain.warning)


def _share(samples: Sequence[Sample], shard: tuple[int, int] | None) -> list[Sample]:
    return [sample for sample in samples if shard is None or in_shard(sample.key, shard)]
