"""What Ray adds to a run on one machine: the same transfer without it and on one engine of a local Ray, in turns.

    python benchmarks/ray_overhead.py [--images 160] [--few 32] [--rounds 1]

Street scenes to fog by the bundled model. Each run is made twice, of few and of many images: what differs is the time
per image, the rest starts and ends a run. Prints one JSON object; run it on a machine that does nothing else.
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


def seconds(root: Path, output: Path, images: int, more: tuple[str, ...]) -> float:
    """Wall time of one `zodi transfer`."""
    command = [
        sys.executable, "-m", "zodi.cli", "transfer", "--root", root, "--domain", "fog", "--engine", "auto",
        "--limit", images, "-o", output, *more,
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--few", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    taken: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "clear")
        write_dataset(root, domain="clear", scenes=options.images, seed=1)
        seconds(root, Path(scratch, "first"), 1, ())  # the bundle may have to be made
        for number in range(options.rounds):
            for images in (options.few, options.images):
                for mode, more in MODES.items():
                    output = Path(scratch, f"{mode}-{images}-{number}")
                    taken.setdefault((mode, images), []).append(seconds(root, output, images, more))
    median = {key: statistics.median(values) for key, values in taken.items()}
    report = {}
    for mode in MODES:
        each = (median[mode, options.images] - median[mode, options.few]) / (options.images - options.few)
        start = median[mode, options.few] - options.few * each
        report[mode] = {"seconds_per_image": round(each, 4), "seconds_to_start_and_end": round(start, 1)}
    report["overhead"] = round(report["ray"]["seconds_per_image"] / report["local"]["seconds_per_image"] - 1, 4)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
