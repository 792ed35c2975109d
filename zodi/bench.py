"""How fast engines transfer, beside diffusers' own pipeline with the same weights, size, batch and threads.

Every engine runs in a process of its own, for its own peak of memory; the processes take turns, so that what else the
machine does is spread over all of them.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from zodi.bench_worker import PEER, Work, serve
from zodi.engines import installed_engines
from zodi.engines.devices import cpu_threads, find_device, free_memory
from zodi.engines.diagnosis import describe_machine
from zodi.engines.profile import make_sizes
from zodi.errors import EngineError, ModelError, SettingsError, ZodiError
from zodi.opening import EngineChoice, ModelChoice, Notify, check_run, find_bundle, load_model

EQUAL_DB = 100.0  # PSNR of equal images, which JSON cannot hold as infinity
MEMORY_FACTOR = 3.0  # of a process, times the size of the weights


@dataclass(frozen=True)
class BenchChoice:
    """What is measured.

    engines   names; empty: every one that is installed
    size      (height, width) in pixels; None: the model's short side, twice as wide
    batch     images per batch; the denoiser sees twice as many under guidance
    steps, strength  as for a transfer; int(steps * strength) guided calls and, but for the peer, one for the inversion
    rounds    how many denoiser calls of each engine are timed, and half as many whole batches; the median counts
    peer      measure diffusers as well
    """

    engines: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    batch: int = 1
    steps: int = 20
    strength: float = 0.9
    rounds: int = 5
    peer: bool = True


def bench_transfer(
    model: ModelChoice | None = None,
    engine: EngineChoice | None = None,
    choice: BenchChoice | None = None,
    *,
    notify: Notify = lambda message: None,
) -> dict[str, Any]:
    """Measure; returns {"machine", "settings", "rows"}, one row per engine.

    engine  its precision, device, threads and bundle are used; fp32 torch is always measured, as the reference

    A row: images_per_s over whole batches; ms_per_denoiser_call at twice the batch; outside_graphs_share 0..1 of a
    batch's time; peak_mib of the engine's process; psnr_db of the images against torch fp32 with the same noise (100:
    equal; None for the peer, which draws other noise); ratio_to_diffusers of the time per denoiser call;
    matrix_peak_share 0..1 of the rate that the CPU reaches in a plain matrix product.

    Raises EngineError where an engine that was named cannot run; others are left out, and `notify` is told why.
    """
    model, engine, choice = model or ModelChoice(), engine or EngineChoice(), choice or BenchChoice()
    if choice.rounds < 1:
        raise SettingsError(f"rounds is {choice.rounds}, allowed is 1 or more")
    components = load_model(model, image_size=choice.size and min(choice.size), notify=notify)
    weights = sum(
        p.numel() * 4 for part in (components.vae, components.text_encoder, components.unet, components.controlnet)
        for p in part.parameters()
    )  # fmt: skip
    info = components.info
    size = choice.size or (info.image_size, 2 * info.image_size)
    make_sizes(
        size, (choice.batch, choice.batch, choice.batch), static=True, dims=info.dims
    )  # raises where the model cannot take them
    work = Work(model, engine, "torch", size, choice.batch, choice.steps, choice.strength, cpu_threads(engine.threads))
    works = [replace(work, engine=replace(engine, precision="fp32", bundle=None))]
    names = list(choice.engines) or installed_engines()
    for name in names:
        if name == "torch" and (engine.precision == "fp32" or name not in choice.engines):
            continue
        bundle = None
        if name != "torch":
            try:
                found = find_bundle(
                    model, replace(engine, engine=name), name, components, notify,
                    batch=choice.batch, image_size=min(size),
                )  # fmt: skip
            except ModelError as error:
                if name in choice.engines or engine.bundle is not None:
                    raise
                notify(f"{name}: left out, {error}")
                continue
            assert found is not None  # only `--engine auto` may do without
            check_run(found, choice.batch, min(size))
            bundle = found.directory
            components = load_model(model, image_size=min(size))  # making the bundle may have used them up
        works.append(replace(work, name=name, engine=replace(engine, bundle=bundle)))
    del components
    if choice.peer:
        works.append(replace(work, name=PEER, engine=replace(engine, precision="fp32", bundle=None)))
    measured, flops = _measure(works, choice, weights, notify)
    machine = describe_machine()
    if find_device(engine.device).type == "cpu":
        machine["matrix_peak_gflops"] = matrix_peak_gflops(cpu_threads(engine.threads))
    rows = _rows(works, measured, choice, flops, machine.get("matrix_peak_gflops"))
    settings = {
        "model": info.name,
        "height": size[0],
        "width": size[1],
        "batch": choice.batch,
        "steps": choice.steps,
        "strength": choice.strength,
        "rounds": choice.rounds,
        "threads": cpu_threads(engine.threads),
    }
    return {"machine": machine, "settings": settings, "rows": rows}


def matrix_peak_gflops(threads: int, side: int = 1536) -> float:
    """The best rate of ten float32 matrix products, in GFLOP/s."""
    import time

    import torch

    torch.set_num_threads(threads)
    a = torch.rand(side, side)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return round(2 * side**3 / best / 1e9, 1)


@dataclass
class _Measured:
    calls: list[float]
    batches: list[float]
    inside: list[float | None]
    images: Any = None
    precision: str = ""
    peak_mib: float = 0.0


def _measure(
    works: Sequence[Work], choice: BenchChoice, weights: int, notify: Notify
) -> tuple[dict[int, _Measured], float]:
    """Time all works in turns; all at once in memory where that is possible, else one after the other."""
    together = len(works) * MEMORY_FACTOR * weights < free_memory()
    groups = [list(enumerate(works))] if together else [[one] for one in enumerate(works)]
    if not together:
        notify("not enough memory for all engines at once: they are measured one after the other")
    results: dict[int, _Measured] = {}
    flops = 0.0
    for group in groups:
        with ExitStack() as stack:
            ask: dict[int, Callable[..., Any]] = {}
            for i, work in group:
                try:
                    asked = stack.enter_context(open_worker(work))
                    opened = asked("open")
                except EngineError as error:
                    if work.name in choice.engines or i == 0:  # the first is the reference of all
                        raise
                    notify(f"{work.name}: left out, {error}")
                    continue
                ask[i] = asked
                results[i] = _Measured([], [], [], precision=opened["precision"])
                flops = opened.get("flops") or flops
                notify(f"{work.name} {opened['precision']}: open")
            for _ in range(choice.rounds):
                for i, asked in ask.items():
                    results[i].calls.append(asked("call"))
            for turn in range(1 + max(1, choice.rounds // 2)):
                for i, asked in ask.items():
                    seconds, inside, results[i].images = asked("batch")
                    if turn > 0:  # the first warms up
                        results[i].batches.append(seconds)
                        results[i].inside.append(inside)
            for i, asked in ask.items():
                results[i].peak_mib = asked("peak")
    return results, flops


def _rows(
    works: Sequence[Work], measured: dict[int, _Measured], choice: BenchChoice, flops: float, peak: float | None
) -> list[dict[str, Any]]:
    median = {i: statistics.median(m.calls) for i, m in measured.items()}
    peer = next((median[i] for i in measured if works[i].name == PEER), None)
    rows = []
    for i, m in measured.items():
        seconds = statistics.median(m.batches)
        is_peer = works[i].name == PEER
        known = [inside / all_of for inside, all_of in zip(m.inside, m.batches, strict=True) if inside is not None]
        rows.append(
            {
                "engine": works[i].name,
                "precision": m.precision,
                "batch": choice.batch,
                "images_per_s": choice.batch / seconds,
                "ms_per_denoiser_call": 1e3 * median[i],
                "outside_graphs_share": 1 - statistics.median(known) if known else None,
                "peak_mib": m.peak_mib,
                "psnr_db": None if is_peer else psnr_db(m.images, measured[0].images),
                "ratio_to_diffusers": peer / median[i] if peer else None,
                "matrix_peak_share": flops / median[i] / 1e9 / peak if peak and flops else None,
            }
        )
    return rows


def psnr_db(images: Any, reference: Any) -> float:
    """Peak signal-to-noise ratio of 8-bit images (B, H, W, 3), worst of the batch; 100 where they are equal."""
    errors = np.square(images.astype(np.float64) - reference.astype(np.float64)).mean(axis=(1, 2, 3))
    return min(EQUAL_DB, float(10 * np.log10(255.0**2 / max(float(errors.max()), 1e-9))))


@contextmanager
def open_worker(work: Work) -> Iterator[Callable[..., Any]]:
    """A process that serves `work`, see `zodi.bench_worker.serve`; its answers come back, its errors are raised."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, work), daemon=True)
    process.start()
    there.close()
    try:
        yield lambda *question: _ask(here, work.name, question)
    finally:
        here.close()
        process.join(timeout=30)
        if process.is_alive():
            process.terminate()


def _ask(connection: Connection, name: str, question: tuple[Any, ...]) -> Any:
    try:
        connection.send(question)
        answer = connection.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise EngineError(
            f"{name}: its process ended while it was asked to {question[0]}: too little memory?"
        ) from None
    if isinstance(answer, ZodiError):
        raise answer
    return answer
