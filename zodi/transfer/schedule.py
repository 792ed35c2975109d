"""The noise schedule and the time steps of DDIM (Song et al. 2020), as ZoDi's sampler counts them."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zodi.errors import SettingsError

Timesteps = Literal["reference", "aligned"]


@dataclass(frozen=True)
class Plan:
    """Which time steps one transfer visits.

    invert  the step that stochastic inversion noises to
    decode  the steps of regeneration, downward
    abar_invert, abar, abar_prev  cumulative alphas at these steps, float64; abar_prev[i] is where step i arrives
    """

    invert: int
    decode: tuple[int, ...]
    abar_invert: float
    abar: tuple[float, ...]
    abar_prev: tuple[float, ...]


def alphas_cumprod(config: dict[str, object]) -> Tensor:
    """Cumulative product of the alphas, (T,) float32, from the keys of a diffusers scheduler config.

    Raises SettingsError for a beta schedule other than linear, scaled_linear or given betas, and for
    rescale_betas_zero_snr, under which the inversion is not defined.
    """
    if config.get("rescale_betas_zero_snr"):
        raise SettingsError("the model's scheduler has rescale_betas_zero_snr: inversion needs a schedule without it")
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
        return torch.cumprod(1.0 - betas, 0).float()
    start, end = float(config["beta_start"]), float(config["beta_end"])  # type: ignore[arg-type]
    steps, kind = int(config["num_train_timesteps"]), config["beta_schedule"]  # type: ignore[call-overload]
    if kind == "scaled_linear":
        betas = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64) ** 2
    elif kind == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    else:
        raise SettingsError(f"the model's beta schedule is {kind!r}, supported are scaled_linear and linear")
    return torch.cumprod(1.0 - betas, 0).float()


def make_plan(alphas_cumprod: Tensor, *, strength: float, steps: int, timesteps: Timesteps = "reference") -> Plan:
    """The time steps for a strength and a number of DDIM steps.

    With T training steps, DDIM visits t = range(0, T, T // steps) + 1; regeneration uses the first
    int(steps * strength) of them, downward. `reference` noises to int(T * strength), as the original does although it
    decodes from an earlier step; `aligned` noises to the first decoded step.

    Raises SettingsError where strength is not in (0, 1), steps does not divide T, or no step remains.
    """
    total = len(alphas_cumprod)
    if not 0.0 < strength < 1.0:
        raise SettingsError(f"strength is {strength:g}, allowed is 0 < strength < 1: 0.6 to 0.9 is usual")
    if steps < 1 or total % steps:
        raise SettingsError(
            f"steps is {steps}, it must divide the model's {total} training steps: 10, 20, 25 and 50 do"
        )
    used = int(steps * strength)
    if used < 1:
        raise SettingsError(
            f"strength {strength:g} with {steps} steps leaves no step to regenerate: "
            f"allowed is strength >= {1 / steps:g}, or use more steps"
        )
    if timesteps not in ("reference", "aligned"):
        raise SettingsError(f"timesteps is {timesteps!r}, allowed are reference and aligned")
    abar = alphas_cumprod.double()
    grid = [t + 1 for t in range(0, total, total // steps)][:used]
    previous = [0, *grid[:-1]]
    invert = int(total * strength) if timesteps == "reference" else grid[-1]
    return Plan(
        invert=invert,
        decode=tuple(reversed(grid)),
        abar_invert=float(abar[invert]),
        abar=tuple(float(abar[t]) for t in reversed(grid)),
        abar_prev=tuple(float(abar[t]) for t in reversed(previous)),
    )
