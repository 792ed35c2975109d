"""Runs a transfer in a forked child and kills it with SIGKILL, at an instant or at a point in the code.

    python killing.py ROOT MODEL OUTPUT PLAN...     PLAN: a number of seconds, or the name of a point

Every plan has an output of its own, OUTPUT/<number>; the child is killed there, and a second child then resumes.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from zodi.api import ModelChoice, run_transfer
from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.transfer.manifest import Manifest, _line
from zodi.transfer.settings import TransferSettings


def die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(point: str) -> None:
    """Change this process so that it dies at a point, the second time it gets there where it gets there often."""
    replace, append = Path.replace, Manifest.append
    seen: list[object] = []

    def second(call, *arguments):
        seen.append(arguments)
        return die() if len(seen) == 2 else call(*arguments)

    def half_a_row(self, row):
        seen.append(row)
        if len(seen) == 2:
            line = _line(row)
            self._file.write(line[: len(line) // 2])
            self._file.flush()
            die()
        append(self, row)

    if point == "before-replace":
        Path.replace = lambda self, to: (
            second(replace, self, to) if self.name.endswith(".png.tmp") else replace(self, to)
        )
    elif point == "before-row":
        Manifest.append = lambda self, row: second(append, self, row)
    elif point == "inside-row":
        Manifest.append = half_a_row
    elif point == "run.json":
        Path.replace = lambda self, to: die() if self.name == "run.json.tmp" else replace(self, to)
    elif point == "sorting":
        Path.replace = lambda self, to: die() if self.name == "manifest.jsonl.tmp" else replace(self, to)
    elif point != "nothing":
        raise SystemExit(f"no such point: {point}")


def transfer(root: Path, model: str, output: Path) -> None:
    torch.set_num_threads(1)
    run_transfer(
        open_dataset("folder", root),
        output,
        [PRESETS["fog"]],
        model=ModelChoice(model),
        settings=TransferSettings(batch=2, steps=10),
    )


def in_child(work) -> int:
    """Fork; the child works and ends; the parent gets its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # the child must not return into the parent's code
            print(type(error).__name__, error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def main(root: str, model: str, outputs: str, *plans: str) -> None:
    for number, plan in enumerate(plans):
        output = Path(outputs) / str(number)
        instant = plan.replace(".", "", 1).isdigit()

        def doomed(plan=plan, output=output, instant=instant):
            if not instant:
                kill_at(plan)
            transfer(Path(root), model, output)

        pid = in_child(doomed)
        if instant:
            time.sleep(float(plan))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(plan, "killed" if killed else "ran to its end", len(list(output.rglob("*.png"))), flush=True)
        status = os.waitpid(in_child(lambda output=output: transfer(Path(root), model, output)), 0)[1]
        if status != 0:
            raise SystemExit(f"{plan}: the resumed run failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
