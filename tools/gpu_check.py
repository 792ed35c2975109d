"""Measure all that needs a GPU, in one go: which engines run, whether they compute what PyTorch does, and how fast.

    python tools/gpu_check.py -o DIR [--minutes 10] [--model DIR] [--only PART ...]

Without --model it makes one of SD 1.5's size with random weights. Results are in DIR/gpu-check.json after every part. A
part that is done is not done again; the same command goes on with the others. What cannot run is in the table by name,
with the reason. The exit status is 1 if something that ran is wrong.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from gpu_parts.settings import Check

RESULT = "gpu-check.json"
DONE = "done"
Part = Callable[[Check], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are not done; 0 all that ran is right, 1 something is wrong."""
    options = parse(arguments)
    check = Check(
        options.output, options.model or options.output / "model", options.device, options.precision, options.size,
        options.batches, options.steps, rounds=options.rounds,
    )  # fmt: skip
    settings = json.loads(json.dumps(asdict(check), default=str))
    result = read_result(options.output / RESULT, settings)
    parts = make_parts(made=options.model is None)
    deadline = time.monotonic() + 60 * options.minutes
    for name, part in parts.items():
        if result["parts"].get(name, {}).get("status") == DONE or (options.only and name not in options.only):
            continue
        if time.monotonic() > deadline:
            result["parts"][name] = {"status": "not measured: time was up, give the same command again"}
            continue
        print(f"{name} ...", flush=True)
        result["parts"][name] = run_part(part, check)
        write_result(options.output / RESULT, result)
    from gpu_parts.table import make_claims, make_rows, print_result

    result["parts"] = {name: result["parts"][name] for name in parts if name in result["parts"]}
    result["rows"] = make_rows(result["parts"])
    result["claims"] = make_claims(result["rows"])
    write_result(options.output / RESULT, result)
    print_result(result)
    return int(any(part["status"].startswith("wrong") for part in result["parts"].values()))


def make_parts(*, made: bool) -> dict[str, Part]:
    """The parts by name, the most telling first; imports are theirs, so that a missing package is one part's affair.

    made  whether the model is made first
    """
    parts: dict[str, Part] = {"machine": machine, "matrix peak": peak}
    if made:
        parts["model"] = random_model
    parts["files"] = partial(correct, "make_files", ())
    parts["trt"] = partial(correct, "make_plans", ())
    parts |= {f"speed {way}": partial(speed, way) for way in ("original", "trt", "torch", "torch-compile")}
    parts["ort"] = partial(correct, "compare_graphs", ("ort",))
    parts |= {f"speed {way}": partial(speed, way) for way in ("ort", "diffusers")}
    return parts | {f"steps {name}": partial(correct, "compare_steps", (name,)) for name in ("trt", "ort")}


def run_part(part: Part, check: Check) -> dict[str, Any]:
    """What a part measured, its state and its seconds; what stops it is its state."""
    from zodi.errors import ModelError, ZodiError

    start = time.monotonic()
    values: dict[str, Any] = {}
    try:
        values = part(check)
        status = DONE
    except ModelError as error:
        status = f"wrong: {error}"
    except ZodiError as error:
        status = f"not run: {error}"
    except ImportError as error:
        status = f"not run: a package is missing: {error}"
    except Exception as error:  # each runtime has its own classes: the other parts are still worth their time
        status = f"wrong: {type(error).__name__}: {str(error).splitlines()[0]}"
    return {**values, "status": status, "seconds": round(time.monotonic() - start, 1)}


def machine(check: Check) -> dict[str, Any]:
    """What is installed and what the machine can do."""
    from zodi.engines.diagnosis import diagnose

    return {"diagnosis": diagnose()}


def peak(check: Check) -> dict[str, Any]:
    """The rate of a plain matrix product."""
    from gpu_parts.speed import matrix_peak

    return {"tflops": matrix_peak(check)}


def random_model(check: Check) -> dict[str, Any]:
    """Make the model."""
    from random_model import write_random_model

    write_random_model(check.model, min(check.size))
    return {}


def correct(function: str, engines: Sequence[str], check: Check) -> dict[str, Any]:
    """A function of `gpu_parts.correct` for engines, by its name."""
    from gpu_parts import correct as module

    return dict(getattr(module, function)(check, *engines))


def speed(way: str, check: Check) -> dict[str, Any]:
    """A way's speed at every batch size."""
    from gpu_parts.speed import measure_way

    return measure_way(check, way)


def read_result(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What earlier calls with the same settings measured."""
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier["settings"] == settings:
            return dict(earlier)
        raise SystemExit(f"{path}: was measured with other settings: give another -o")
    return {"settings": settings, "parts": {}}


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write what is known so far."""
    from zodi.files import write_atomic

    write_atomic(path, (json.dumps(result, indent=2) + "\n").encode())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="results, and what is made")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="in diffusers format (default: random, SD 1.5's size)"
    )
    parser.add_argument("--device", default="auto", help="cuda, cuda:N or cpu (default: auto)")
    parser.add_argument("--precision", default="fp16", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--size", type=numbers("x"), default=(512, 1024), metavar="HxW", help="default: 512x1024")
    parser.add_argument("--batches", type=numbers(","), default=(1, 4, 8), metavar="N,N", help="default: 1,4,8")
    parser.add_argument("--steps", type=int, default=20, help="of the schedule (default: 20)")
    parser.add_argument("--rounds", type=int, default=10, help="denoiser calls that are timed (default: 10)")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no part after so many (default: 10)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="only these parts")
    return parser.parse_args(arguments)


def numbers(separator: str) -> Callable[[str], tuple[int, ...]]:
    """Read "1,4,8"."""
    return lambda text: tuple(int(part) for part in text.split(separator))


if __name__ == "__main__":
    raise SystemExit(main())
