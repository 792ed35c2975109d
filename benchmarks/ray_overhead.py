"""What Ray adds to a run on one machine: the same transfer without it and on one engine of a local Ray, in turns.

    python benchmarks/ray_overhead.py [--images 320] [--rounds 1]

Street scenes to fog by the bundled model. The time per image is that of the second half of the results on disk (they
come in blocks, a whole number in each half), the rest starts and ends a run. Prints one JSON object; run it on a
machine that does nothing else.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zodi.town.dataset import write_dataset

MODES = {"local": (), "ray": ("--ray", "local", "--workers", "1")}


def run(root: Path, output: Path, images: int, more: tuple[str, ...]) -> tuple[float, float]:
    """One `zodi transfer`: seconds in all, and seconds per image of the second half."""
    command = [
        sys.executable, "-m", "zodi.cli", "transfer", "--root", root, "--domain", "fog", "--engine", "auto",
        "--limit", images, "-o", output, *more,
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds = time.perf_counter() - start
    written = sorted(path.stat().st_mtime for path in output.rglob("*.png"))
    half = len(written) // 2
    return seconds, (written[-1] - written[half - 1]) / (len(written) - half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "clear")
        write_dataset(root, domain="clear", scenes=options.images, seed=1)
        run(root, Path(scratch, "first"), 1, ())  # the bundle may have to be made
        for number in range(options.rounds):
            for mode, more in MODES.items():
                taken[mode].append(run(root, Path(scratch, f"{mode}-{number}"), options.images, more))
    report: dict[str, object] = {}
    each = {mode: statistics.median(per_image for _, per_image in found) for mode, found in taken.items()}
    for mode, found in taken.items():
        whole = statistics.median(seconds for seconds, _ in found)
        report[mode] = {
            "seconds_per_image": round(each[mode], 4),
            "seconds_to_start_and_end": round(whole - options.images * each[mode], 1),
        }
    report["overhead"] = round(each["ray"] / each["local"] - 1, 4)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
