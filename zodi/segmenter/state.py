"""What a training leaves on disk while it runs, so that a broken run goes on as if nothing had happened.

train.json   settings, data, versions and files: what a resumed run is compared with, see `zodi.segmenter.place`
train.csv    one row per step: step, epoch, lr, encoder_lr where it is another, and the terms of the loss
state.pt     weights, averages, the optimiser's moments, the number of steps that are done
validation.csv, best.safetensors  after each epoch mIoU and each class's IoU, 0..1, of images that were kept out, and
             the weights of the best
"""

import csv
import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zodi.errors import OutputError
from zodi.files import write_atomic
from zodi.segmenter.averaging import Averages

LOG = "train.csv"
STATE = "state.pt"
VALIDATION = "validation.csv"
BEST = "best.safetensors"


def write_state(
    directory: Path, step: int, net: nn.Module, optimizer: Any, averages: Averages | None, accelerator: Any
) -> None:
    """Save the state after `step` steps, as a whole; only the main process does."""
    if not accelerator.is_main_process:
        return
    content = {
        "step": step,
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "averages": averages.weights if averages else None,
        "updates": averages.updates if averages else 0,
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
    }
    path = directory / STATE
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error}): check the permissions and the free space") from None


def read_state(directory: Path, net: nn.Module, optimizer: Any, averages: Averages | None, accelerator: Any) -> int:
    """Load the saved state into net, optimiser and averages; the number of steps done, 0 where nothing was saved.

    Raises OutputError for a damaged file.
    """
    path = directory / STATE
    if not path.is_file():
        return 0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(content["net"])
        optimizer.load_state_dict(content["optimizer"])
        if averages is not None:
            for name, tensor in content["averages"].items():
                averages.weights[name].copy_(tensor)
            averages.updates = content["updates"]
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(content["scaler"])
        return int(content["step"])
    except Exception as error:  # torch raises almost anything for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise OutputError(f"{path}: is damaged ({reason}): use --restart or another -o") from None


def finish_state(directory: Path) -> None:
    """Remove the state of a training whose checkpoint is written; train.json and the logs stay."""
    for name in (STATE, BEST):
        (directory / name).unlink(missing_ok=True)


def logged_steps(directory: Path) -> int:
    """How many steps train.csv has."""
    path = directory / LOG
    return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1) if path.is_file() else 0


class TrainLog:
    """Rows of train.csv, kept until `flush`; rows of steps that a resumed run does again are dropped."""

    def __init__(self, directory: Path, step: int, *, enabled: bool, encoder_lr: float = 1.0) -> None:
        """encoder_lr: factor of the encoder's learning rate, which has a column of its own where it is not 1."""
        self._path = directory / LOG
        self._rows: list[tuple[int, int, float, dict[str, Tensor]]] = []
        self._enabled = enabled
        self._rates = {"lr": 1.0} | ({"encoder_lr": encoder_lr} if encoder_lr != 1 else {})
        if enabled and self._path.is_file():
            kept: list[list[str]] = []
            for row in csv.reader(io.StringIO(self._path.read_text(encoding="utf-8"))):
                whole = kept and len(row) == len(
                    kept[0]
                )  # else a kill or a full disk cut it, and its step may say 1 of 12
                if not kept or (whole and row[0].isdigit() and int(row[0]) <= step):
                    kept.append(row)
            write_atomic(self._path, _csv(kept if step else []))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, step: int, epoch: int, lr: float, terms: dict[str, Tensor]) -> None:
        """Note a step; nothing is read from the device yet."""
        self._rows.append((step, epoch, lr, terms))

    def flush(self, accelerator: Any) -> dict[str, float]:
        """Write the rows, averaged over processes; the means of the terms since the last flush."""
        names = list(self._rows[0][3])
        values = torch.stack([torch.stack([terms[name].float() for name in names]) for *_, terms in self._rows])
        values = accelerator.reduce(values, reduction="mean").cpu()
        if self._enabled:
            new = not self._path.is_file() or self._path.stat().st_size == 0
            rows = [["step", "epoch", *self._rates, *names]] if new else []
            for (step, epoch, lr, _), numbers in zip(self._rows, values.tolist(), strict=True):
                rates = [factor * lr for factor in self._rates.values()]
                rows.append([str(step), str(epoch), *(f"{number:.8g}" for number in (*rates, *numbers))])
            try:
                with self._path.open("ab") as file:
                    file.write(_csv(rows))
            except OSError as error:
                raise OutputError(
                    f"{self._path}: cannot be written ({error.strerror}): check the permissions and the free space"
                ) from None
        self._rows.clear()
        return dict(zip(names, values.mean(dim=0).tolist(), strict=True))


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
