"""The loop that all stages share: learning rate, EMA, checkpoints, log; breaking off does not change the outcome."""

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from town_model.optimizer import make_optimizers
from town_model.settings import Settings
from zodi.engines.devices import bf16_is_faster
from zodi.transfer.signals import StopRequest

EMA_DECAY = 0.999
WARM_UP = 50  # steps
FALL = 0.6  # share of the steps over which the learning rate falls
LOG_EVERY = 10  # steps


class Clock:
    """When to stop: after some minutes, or on a signal."""

    def __init__(self, minutes: float | None = None, stopped: StopRequest | None = None) -> None:
        self.start = time.monotonic()
        self.limit = minutes
        self.stopped = stopped or StopRequest()

    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self.start) / 60

    def over(self) -> bool:
        """Whether the time is up or a signal came."""
        return self.stopped() or (self.limit is not None and self.minutes() >= self.limit)


class State:
    """Modules in training with optimiser, moving averages of the weights and step, in one file that is always whole."""

    def __init__(
        self, modules: dict[str, nn.Module], path: Path, *, rate: float, device: torch.device, start: str = ""
    ) -> None:
        """start: model directory whose weights a new run begins with, or "" """
        self.modules = modules
        self.start = start
        if start and not path.is_file():
            for name, module in modules.items():
                module.load_state_dict(type(module).from_pretrained(Path(start) / name).state_dict())  # type: ignore[attr-defined]
        self.path = path
        self.device = device
        for module in modules.values():
            module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = [p for module in modules.values() for p in module.parameters()]
        self.optimizers = make_optimizers(modules, rate)
        self.ema = {
            f"{name}.{key}": value.detach().clone()
            for name, module in modules.items()
            for key, value in module.named_parameters()
        }
        self.step = 0
        if path.is_file():
            self._load()

    def is_random(self) -> bool:
        """Whether nothing was learnt yet."""
        return self.step == 0 and not self.start

    @torch.no_grad()
    def average(self) -> None:
        """Move the averages towards the weights; early averages forget faster."""
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def freeze(self, prefixes: tuple[str, ...]) -> None:
        """From now on parameters whose names start so keep their averages' values."""
        for parameter, (name, average) in zip(self.parameters, self.ema.items(), strict=True):
            if name.startswith(prefixes):
                parameter.copy_(average)
                parameter.grad = None
                parameter.requires_grad_(False)

    @torch.no_grad()
    def use_averages(self) -> None:
        """Put the averages in place of the weights, to evaluate or export; training cannot go on from there."""
        for parameter, average in zip(self.parameters, self.ema.values(), strict=True):
            parameter.copy_(average)

    def save(self) -> None:
        """Write all that resuming needs, by temporary file and rename."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".tmp")
        content = {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "ema": self.ema,
            "step": self.step,
        }
        torch.save(content, temporary)
        temporary.replace(self.path)

    def _load(self) -> None:
        content = torch.load(self.path, map_location=self.device, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(content["modules"][name])
        for optimizer, stored in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.ema = content["ema"]
        self.step = content["step"]


def train(
    state: State,
    loss: Callable[[np.random.Generator, torch.Generator], dict[str, Tensor]],
    *,
    name: str,
    steps: int,
    settings: Settings,
    rate: float,
    clock: Clock,
    save_minutes: float,
) -> None:
    """Train up to `steps`, or until the clock is over.

    loss  one batch's terms; "loss" is minimised, all are logged. Both generators are seeded by the step alone, so that
          a run that was broken off goes on as if it had not been
    """
    log = state.path.with_name("log.csv")
    rows = _rows_before(log, state.step)
    terms: dict[str, list[float]] = {}
    saved = shown = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(rows)
        while state.step < steps and not clock.over():
            current = rate * schedule(state.step, steps)
            for optimizer in state.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = current
                optimizer.zero_grad(set_to_none=True)
            seed = settings.seed * 2**32 + state.step
            values = loss(np.random.default_rng(seed), torch.Generator().manual_seed(seed))
            values["loss"].backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(state.parameters, 1.0)
            if not bool(norm.isfinite()):
                raise FloatingPointError(f"{name}: the gradient is not finite at step {state.step}")
            for optimizer in state.optimizers:
                optimizer.step()
            state.step += 1
            state.average()
            for key, value in values.items():
                terms.setdefault(key, []).append(float(value.detach()))
            if state.step % LOG_EVERY == 0 or state.step == steps:
                means = {key: sum(v) / len(v) for key, v in terms.items()}
                if not rows:
                    writer.writerow(rows := ["step", "minutes", "rate", *means])
                numbers = (clock.minutes(), current, *means.values())
                writer.writerow([state.step, *(f"{value:.6g}" for value in numbers)])
                file.flush()
                terms = {}
                if time.monotonic() - shown > 30 or state.step == steps:
                    shown = time.monotonic()
                    text = " ".join(f"{key} {value:.4f}" for key, value in means.items())
                    print(f"{name}: step {state.step}/{steps} {text} {clock.minutes():.1f} min", flush=True)
            if time.monotonic() - saved > 60 * save_minutes:
                state.save()
                saved = time.monotonic()
    state.save()
    print(f"{name}: saved at step {state.step} of {steps}", flush=True)


def half_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the device computes in it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" or bf16_is_faster())


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: warm-up, constant, linear fall to 2 %. With more steps it rises again."""
    fall = min(1.0, (steps - step) / max(FALL * steps, 1))
    return min(1.0, (step + 1) / WARM_UP) * max(fall, 0.02)


def _rows_before(log: Path, step: int) -> list[Sequence[str]]:
    """The log's rows up to the checkpoint; later ones come again."""
    if not log.is_file() or step == 0:
        return []
    with log.open(newline="") as file:
        rows = list(csv.reader(file))
    return [*rows[:1], *(row for row in rows[1:] if int(row[0]) <= step)]
