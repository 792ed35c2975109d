"""Runs transfers on a disk that fills up, frees some space, and gives the same command again.

    python filling.py ROOT MODEL DISK KIB...      in a mount namespace of its own: DISK becomes a disk of 400 KiB

Prints a JSON object for each KIB that are free at first: exit status and last line of each command, and what is there.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import zodi.api  # once, before the forks
from zodi.cli.__main__ import main as zodi

SIZE = 400


def run(*arguments: object) -> list[object]:
    """The exit status of a command and its output, from a forked child."""
    with tempfile.TemporaryFile() as shown:
        child = os.fork()
        if child == 0:
            os.dup2(shown.fileno(), 1)
            os.dup2(shown.fileno(), 2)
            torch.set_num_threads(1)
            sys.argv = ["zodi", *map(str, arguments)]
            try:
                zodi()
            except SystemExit as stop:
                os._exit(int(stop.code or 0))
            except BaseException as error:
                print("Traceback", type(error).__name__, error, file=sys.stderr, flush=True)
                os._exit(99)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shown.seek(0)
        return [status, shown.read().decode().splitlines()]


def fill_and_free(root: str, model: str, disk: Path, free: int) -> dict[str, object]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "tmpfs", disk], check=True)
    (disk / "other").write_bytes(bytes(1024 * (SIZE - free)))
    output = disk / "out"
    transfer = ("transfer", "--root", root, "--model", model, "-o", output, "--steps", "2", "--batch", "4")
    found: dict[str, object] = {"free": free, "full": run(*transfer)}
    found["left"] = [str(path.relative_to(disk)) for path in disk.rglob("*.tmp")]
    found["verified"] = run("transfer", "verify", output)
    (disk / "other").unlink()
    found["freed"] = run(*transfer)
    found["whole"] = run("transfer", "verify", output)
    found["images"] = len(list(output.rglob("*.png")))
    subprocess.run(["umount", disk], check=True)
    return found


if __name__ == "__main__":
    for kib in sys.argv[4:]:
        print(json.dumps(fill_and_free(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(kib))), flush=True)
