"""The training loop: generic over the loss and the batches, resumable after any step.

Nothing in it carries hidden state from step to step but weights, averages and the optimiser's moments: the learning
rate, the order of images and the random numbers of a step are functions of the settings and of its number.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from zodi.errors import SettingsError
from zodi.labels import IGNORE
from zodi.segmenter.averaging import Averages
from zodi.segmenter.objective import Whole
from zodi.segmenter.schedule import learning_rate
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.state import TrainLog, read_state, write_state

LOG_STEPS = 20  # at most, between two looks at the loss; each look waits for the device
LOG_SECONDS = 5.0  # likewise

Batch = dict[str, Tensor]
# the terms of a step; "loss" is the one whose gradient is followed, all are logged
Loss = Callable[[nn.Module, Batch, Whole], dict[str, Tensor]]
# after each epoch and at the end, in the main process: the number of steps done, and the weights that would be kept
OnEpoch = Callable[[int, dict[str, Tensor]], None]
Progress = Callable[[int, int, str], None]


class Batches(Protocol):
    """Batches of an epoch from a step on, on the CPU; always the same for the same epoch and step."""

    steps: int  # of an epoch

    def __call__(self, epoch: int, first: int) -> Iterator[Batch]: ...


def train_step(
    net: nn.Module, optimizer: Any, loss: Loss, batch: Batch, lr: float, accelerator: Any, accumulate: int = 1
) -> Batch:
    """One optimiser step at the learning rate `lr`; the terms of the loss, detached.

    accumulate  parts that the batch is cut into, whose gradients add up: less memory, the same step but for batch norm
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    valid = {
        name: accelerator.reduce((labels != IGNORE).sum().float(), reduction="mean")
        for name, labels in batch.items()
        if name.endswith("label")
    }
    terms: Batch = {}
    parts = [tensor.chunk(accumulate) for tensor in batch.values()]
    for number, part in enumerate(zip(*parts, strict=True), start=1):
        with nullcontext() if number == accumulate else accelerator.no_sync(net):
            own = loss(net, dict(zip(batch, part, strict=True)), Whole(valid, 1 / accumulate))
            accelerator.backward(own["loss"])
        terms = {name: terms[name] + term.detach() if terms else term.detach() for name, term in own.items()}
    optimizer.step()
    return terms


def fit(
    net: nn.Module,
    loss: Loss,
    batches: Batches,
    settings: TrainSettings,
    directory: Path,
    accelerator: Any,
    *,
    save_every: int = 0,
    on_progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor] | None:
    """Train to the end, from the saved state where there is one; the weights to keep, or None if `stopped`.

    net         on the CPU, with its first weights
    directory   where state and log are; see `zodi.segmenter.state`
    save_every  also save after every so many steps, not only after each epoch; 0: only epochs
    on_epoch    called before the state is saved, so a second time where the process was killed in between
    stopped     asked after every step; the state is saved before the loop ends

    Raises SettingsError where the loss becomes infinite.
    """
    total = settings.iterations or (settings.epochs or 0) * batches.steps
    if settings.channels_last:
        net.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(net, settings)
    wrapped, optimizer = accelerator.prepare(net, optimizer)
    inner = accelerator.unwrap_model(wrapped)
    averages = Averages(inner, settings.ema) if settings.ema else None
    step = read_state(directory, inner, optimizer, averages, accelerator)
    log = TrainLog(directory, step, enabled=accelerator.is_main_process)
    wrapped.train()
    looked = time.monotonic()
    while step < total:
        epoch, first = divmod(step, batches.steps)
        with closing(iter(batches(epoch, first))) as epoch_batches:  # type: ignore[type-var]
            for batch in epoch_batches:
                lr = learning_rate(settings, step, batches.steps, total)
                seed_step(settings.seed, step, accelerator.process_index)
                moved = _to_device(batch, settings, accelerator)
                terms = train_step(wrapped, optimizer, loss, moved, lr, accelerator, settings.accumulate)
                step += 1
                if averages is not None:
                    averages.update(inner)
                log.add(step, epoch, lr, terms)
                due = len(log) >= LOG_STEPS or time.monotonic() - looked > LOG_SECONDS
                stop, look = _agreed((stopped(), due), accelerator)
                ends = step == total or step % batches.steps == 0
                saves = ends or stop or (save_every > 0 and step % save_every == 0)
                if saves or look:
                    looked = time.monotonic()
                    last = log.flush(accelerator)
                    accelerator.log(last | {"lr": lr}, step=step)
                    if not np.isfinite(last["loss"]):
                        raise SettingsError(f"the loss is {last['loss']} at step {step}: use a lower --lr")
                    if on_progress is not None:
                        on_progress(step, total, f"epoch {epoch + 1}, loss {last['loss']:.3f}, lr {lr:.2e}")
                if ends and on_epoch is not None and accelerator.is_main_process:
                    on_epoch(step, kept(averages, inner))
                if saves and step < total:
                    write_state(directory, step, inner, optimizer, averages, accelerator)
                if stop and step < total:
                    return None
                if ends:
                    break
    return kept(averages, inner)


def kept(averages: Averages | None, net: nn.Module) -> dict[str, Tensor]:
    """The weights that a training would leave now, on the CPU: the averages where there are any."""
    weights = averages.weights if averages is not None else net.state_dict()
    return {name: tensor.detach().cpu() for name, tensor in weights.items()}


def make_optimizer(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW or SGD over all parameters."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)


def seed_step(seed: int, step: int, process: int) -> None:
    """Seed torch's generators for one step, so that dropout is the same after a resume."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0]))


def _agreed(asked: Sequence[bool], accelerator: Any) -> Sequence[bool]:
    """What any process asks for: all must stop, and look at the loss, after the same step, or some wait for ever."""
    if accelerator.num_processes == 1:
        return asked
    counts = accelerator.reduce(torch.tensor(asked, dtype=torch.float32, device=accelerator.device), reduction="sum")
    return [count > 0 for count in counts.tolist()]


def _to_device(batch: Batch, settings: TrainSettings, accelerator: Any) -> Batch:
    moved = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
    if settings.channels_last:
        for name, tensor in moved.items():
            if tensor.ndim == 4:
                moved[name] = tensor.contiguous(memory_format=torch.channels_last)
    return moved
