"""How fast a model is repainted, one way after the other, each in a process of its own."""

import statistics
import time
from typing import Any

import torch

from gpu_parts.settings import Check
from zodi.bench import matrix_peak_gflops, open_worker
from zodi.bench_worker import COMPILED_PEER, PEER, Work
from zodi.engines.devices import cpu_threads, find_device
from zodi.engines.torch import PRECISIONS
from zodi.errors import EngineError

ORIGINAL = "original"  # its code repaints one image at a time in fp32, as diffusers does in the same setting
WAYS = {  # name -> what is run; all but the original in the check's precision and batches
    ORIGINAL: PEER,
    "trt": "trt",
    COMPILED_PEER: COMPILED_PEER,
    "torch": "torch",
    PEER: PEER,
    "ort": "ort",
}
BATCHES = 2  # whole batches that are timed; the faster counts, as the first at a size warms up


def measure_way(check: Check, way: str) -> dict[str, Any]:
    """{"rows", "problems"}: a row for each batch size, or why there is none.

    A row: images_per_s, ms_per_denoiser_call, outside_graphs_share (None for peers on a GPU), device_mib (all that is
    taken on the GPU), flops of a denoiser call (torch only).
    """
    precision = "fp32" if way == ORIGINAL else check.precision
    batches = (1,) if way == ORIGINAL else check.batches
    name = WAYS[way]
    work = Work(
        check.model_choice, check.engine_choice(name, precision), name, check.size, max(batches), check.steps,
        check.strength, cpu_threads(),
    )  # fmt: skip
    rows, problems = [], []
    with open_worker(work) as ask:
        flops = ask("open").get("flops")
        for batch in batches:
            try:
                ask("call", batch)
                calls = [ask("call", batch) for _ in range(check.rounds)]
                seconds, inside, _ = min((ask("batch", batch) for _ in range(BATCHES)), key=lambda answer: answer[0])
            except EngineError as error:
                problems.append(f"batch {batch}: {error}")
                continue
            rows.append(
                {
                    "way": way,
                    "precision": precision,
                    "batch": batch,
                    "images_per_s": batch / seconds,
                    "ms_per_denoiser_call": 1e3 * statistics.median(calls),
                    "outside_graphs_share": None if inside is None else 1 - inside / seconds,
                    "device_mib": ask("device"),
                    "flops": None if flops is None else flops * batch / max(batches),
                }
            )
    return {"rows": rows, "problems": problems}


def matrix_peak(check: Check) -> float:
    """The best rate of a plain matrix product in the check's precision, TFLOP/s."""
    device = find_device(check.device)
    if device.type == "cpu":
        return matrix_peak_gflops(cpu_threads()) / 1e3
    side = 8192
    a = torch.randn((side, side), device=device, dtype=PRECISIONS[check.precision])
    best = float("inf")
    for _ in range(20):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        torch.mm(a, a)
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e12
