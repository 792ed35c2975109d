"""The training loop: generic over the loss and the batches, resumable after any step.

Nothing in it carries hidden state from step to step but weights, averages and the optimiser's moments: the learning
rate, the order of images and the random numbers of a step are functions of the settings and of its number.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from zodi.errors import DataError, EngineError, SettingsError, ZodiError
from zodi.labels import IGNORE
from zodi.memory import is_out_of_memory
from zodi.segmenter.averaging import Averages
from zodi.segmenter.freezing import freeze_weights, set_training
from zodi.segmenter.nets import as_segmenter
from zodi.segmenter.objective import Whole
from zodi.segmenter.schedule import learning_rate
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.state import TrainLog, read_state, write_state

LR_FACTOR = "lr_factor"  # of a group of the optimiser's parameters
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
        group["lr"] = lr * group.get(LR_FACTOR, 1.0)
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
    unused: Iterable[str] = (),
    on_progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    on_saved: Callable[[], None] = lambda: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor] | None:
    """Train to the end, from the saved state where there is one; the weights to keep, or None if `stopped`.

    net         on the CPU, with its first weights
    directory   where state and log are; see `zodi.segmenter.state`
    save_every  also save after every so many steps, not only after each epoch; 0: only epochs
    unused      parameters that the loss does not depend on, see `zodi.segmenter.probe`
    on_epoch    called before the state is saved, and again where a training resumes there
    on_saved    called after each save
    stopped     asked after every step; the state is saved before the loop ends

    A batch whose labels are void everywhere changes nothing: its step is not in the log. Where a batch cannot be read,
    or `on_epoch` fails, the state is saved before the error is raised. Raises SettingsError where the loss becomes
    infinite, EngineError where memory does not suffice.
    """
    total = settings.iterations or (settings.epochs or 0) * batches.steps
    run = _Run(net, settings, directory, accelerator, unused, on_epoch, on_saved)
    if run.step > 0 and run.step in (total, run.step // batches.steps * batches.steps):
        run.end_epoch()
    looked = time.monotonic()
    while run.step < total:
        epoch, first = divmod(run.step, batches.steps)
        with closing(iter(batches(epoch, first))) as epoch_batches:  # type: ignore[type-var]
            ends = False
            while not ends:
                lr = learning_rate(settings, run.step, batches.steps, total)
                run.learn(loss, run.fetch(epoch_batches), epoch, lr)
                due = len(run.log) >= LOG_STEPS or time.monotonic() - looked > LOG_SECONDS
                stop, look = _agreed((stopped(), due), accelerator)
                ends = run.step == total or run.step % batches.steps == 0
                saves = ends or stop or (save_every > 0 and run.step % save_every == 0)
                if saves or look:
                    looked = time.monotonic()
                    note = run.look(lr)
                    if on_progress is not None:
                        on_progress(run.step, total, f"epoch {epoch + 1}{note}, lr {lr:.2e}")
                if ends:
                    run.end_epoch()
                if saves and run.step < total:
                    run.save()
                if stop and run.step < total:
                    return None
    return kept(run.averages, run.inner)


class _Run:
    """A training between its steps, in one of the processes."""

    def __init__(
        self,
        net: nn.Module,
        settings: TrainSettings,
        directory: Path,
        accelerator: Any,
        unused: Iterable[str],
        on_epoch: OnEpoch | None,
        on_saved: Callable[[], None],
    ) -> None:
        self.settings, self.accelerator = settings, accelerator
        self._directory, self._on_epoch, self._on_saved = directory, on_epoch, on_saved
        if settings.channels_last:
            net.to(memory_format=torch.channels_last)
        freeze_weights(net, settings.freeze)
        optimizer = make_optimizer(net, settings)  # of all parameters, so that its state is the same in any version
        for name in unused:
            net.get_parameter(name).requires_grad_(False)  # processes would wait for its gradient
        self.wrapped, self.optimizer = accelerator.prepare(net, optimizer)
        self.inner = accelerator.unwrap_model(self.wrapped)
        self.averages = Averages(self.inner, settings.ema) if settings.ema else None
        self.step = read_state(directory, self.inner, self.optimizer, self.averages, accelerator)
        self._saved = self.step
        encoder_lr = 0.0 if "encoder" in settings.freeze else settings.encoder_lr
        self.log = TrainLog(directory, self.step, enabled=accelerator.is_main_process, encoder_lr=encoder_lr)
        set_training(self.inner, settings.freeze)

    def fetch(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch, or None where all labels of all processes are void; an error saves the state first."""
        batch = failed = None
        try:
            batch = next(batches)
        except ZodiError as error:
            failed = error
        valid = batch is not None and has_valid(batch)
        anywhere_failed, anywhere_valid = _agreed((failed is not None, valid), self.accelerator)
        if anywhere_failed:
            self._rescue()
            raise failed or DataError("another process could not read a batch: see its message")
        return batch if anywhere_valid else None

    def learn(self, loss: Loss, batch: Batch | None, epoch: int, lr: float) -> None:
        """Take a step; without a batch only its number is taken."""
        if batch is not None:
            seed_step(self.settings.seed, self.step, self.accelerator.process_index)
            moved = _to_device(batch, self.settings, self.accelerator)
            try:
                terms = train_step(
                    self.wrapped, self.optimizer, loss, moved, lr, self.accelerator, self.settings.accumulate
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise _too_large(self.settings, self.step + 1, self.accelerator.num_processes) from None
            if self.averages is not None:
                self.averages.update(self.inner)
            self.log.add(self.step + 1, epoch, lr, terms)
        self.step += 1

    def look(self, lr: float) -> str:
        """Write the steps since the last look into the log; the mean loss in words, "" if there were none."""
        if len(self.log) == 0:
            return ""
        last = self.log.flush(self.accelerator)
        self.accelerator.log(last | {"lr": lr}, step=self.step)
        if not np.isfinite(last["loss"]):
            raise SettingsError(f"the loss is {last['loss']} at step {self.step}: use a lower --lr")
        return f", loss {last['loss']:.3f}"

    def end_epoch(self) -> None:
        """Tell of the weights that would be kept now."""
        if self._on_epoch is None or not self.accelerator.is_main_process:
            return
        try:
            self._on_epoch(self.step, kept(self.averages, self.inner))
        except ZodiError:
            self._rescue()
            raise

    def save(self) -> None:
        """Save the state."""
        write_state(self._directory, self.step, self.inner, self.optimizer, self.averages, self.accelerator)
        self._saved = self.step
        self._on_saved()

    def _rescue(self) -> None:
        if self.step > self._saved:
            if len(self.log):
                self.log.flush(self.accelerator)
            self.save()


def has_valid(batch: Batch) -> bool:
    """Whether a pixel of any label in a batch counts."""
    labels = (label for name, whole in batch.items() if name.endswith("label") for label in whole)
    return any(bool((label != IGNORE).any()) for label in labels)


def kept(averages: Averages | None, net: nn.Module) -> dict[str, Tensor]:
    """The weights that a training would leave now, on the CPU: the averages where there are any."""
    weights = averages.weights if averages is not None else net.state_dict()
    return {name: tensor.detach().cpu() for name, tensor in weights.items()}


def make_optimizer(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW or SGD over all parameters that are not frozen, the encoder's in a group of their own where its rate is."""
    parameters: list[Any] = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if settings.encoder_lr != 1:
        encoder = set(as_segmenter(net).encoder.parameters())
        parameters = [
            {"params": [parameter for parameter in parameters if parameter not in encoder]},
            {"params": [parameter for parameter in parameters if parameter in encoder], LR_FACTOR: settings.encoder_lr},
        ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)


def _too_large(settings: TrainSettings, step: int, processes: int) -> EngineError:
    """The error for a step that does not fit into memory."""
    ways = ["a smaller --crop or --batch"]
    if settings.batch > processes * settings.accumulate:
        ways.insert(0, f"a larger --accumulate than {settings.accumulate}")
    if settings.precision == "fp32":
        ways.append("--precision bf16")
    return EngineError(f"out of memory in step {step}: use {' or '.join(ways)}, with --restart or another -o")


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
