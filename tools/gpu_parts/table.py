"""The result as one object and as a table."""

from typing import Any

from gpu_parts.speed import ORIGINAL, WAYS
from zodi.bench_worker import COMPILED_PEER
from zodi.cli.bench import print_rows

COLUMNS = {
    "way": ("way", "{}"),
    "precision": ("precision", "{}"),
    "batch": ("batch", "{}"),
    "images_per_s": ("images/s", "{:.3g}"),
    "ratio_to_original": ("x original", "{:.1f}"),
    "ms_per_denoiser_call": ("ms/call", "{:.4g}"),
    "matrix_peak_share": ("of peak", "{:.1%}"),
    "outside_graphs_share": ("outside", "{:.1%}"),
    "device_mib": ("GPU MiB", "{:.0f}"),
}
WANTED_RATIO, WANTED_SHARE = 10.0, 0.4  # of the original's images/s, and of the matrix peak, at the largest batch


def make_rows(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each way and batch that was measured, with what follows from the others."""
    rows = [dict(row) for way in WAYS for row in parts.get(f"speed {way}", {}).get("rows", [])]
    original = next((row["images_per_s"] for row in rows if row["way"] == ORIGINAL), None)
    flops = {row["batch"]: row["flops"] for row in rows if row["flops"]}
    peak = parts.get("matrix peak", {}).get("tflops")
    for row in rows:
        work = flops.get(row["batch"])  # of the same call by PyTorch; other ways compute no less
        row["ratio_to_original"] = row["images_per_s"] / original if original else None
        rate = work / row["ms_per_denoiser_call"] / 1e9 if work else None
        row["matrix_peak_share"] = rate / peak if rate and peak else None
    return rows


def make_claims(rows: list[dict[str, Any]]) -> dict[str, bool | None]:
    """What TensorRT shall reach at the largest batch; None where it was not measured."""
    at = {(row["way"], row["batch"]): row for row in rows}
    trt = at.get(("trt", max((row["batch"] for row in rows), default=0)))
    if trt is None:
        return dict.fromkeys(("10 x the original", "torch.compile's speed", "40 % of the matrix peak"))
    ratio, share = trt["ratio_to_original"], trt["matrix_peak_share"]
    compiled = at.get((COMPILED_PEER, trt["batch"]))
    return {
        "10 x the original": None if ratio is None else ratio >= WANTED_RATIO,
        "torch.compile's speed": None if compiled is None else trt["images_per_s"] >= compiled["images_per_s"],
        "40 % of the matrix peak": None if share is None else share >= WANTED_SHARE,
    }


def print_result(result: dict[str, Any]) -> None:
    """Parts with their state, then the table, then what was to be reached."""
    for name, part in result["parts"].items():
        errors = part.get("parity", {})
        worst = f", error at most {max(errors.values()):.2f} of what is allowed" if errors else ""
        print(f"{name}: {part['status']}{worst}")
        for problem in part.get("problems", []):
            print(f"  {problem}")
    print_rows(result["rows"], COLUMNS)
    for claim, reached in result["claims"].items():
        print(f"{claim}: {'not measured' if reached is None else 'yes' if reached else 'NO'}")
