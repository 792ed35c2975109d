"""Stochastic inversion and guided DDIM regeneration, as pure functions of a noise predictor.

Inversion follows Zhang et al., "Inversion-based style transfer" (2023), as ZoDi (arXiv 2403.13652) uses it;
regeneration is DDIM (Song et al. 2020, equation 12) with classifier-free guidance (Ho and Salimans 2022).
"""

import math
from collections.abc import Sequence
from typing import Literal, Protocol, cast

from torch import Tensor

from zodi.transfer.schedule import Plan, Timesteps, make_plan

Branch = Literal["cond", "uncond", "both"]


class Predict(Protocol):
    """Predicts the noise in `x` (B, 4, h, w) at time step `t`; for the branch "both" a pair (cond, uncond)."""

    def __call__(self, x: Tensor, t: int, branch: Branch) -> Tensor | tuple[Tensor, Tensor]: ...


def transfer_latents(
    predict: Predict,
    z0: Tensor,
    *,
    alphas_cumprod: Tensor,
    strength: float,
    steps: int,
    guidance: float,
    eta: float,
    invert_noise: Tensor,
    step_noise: Sequence[Tensor] | Tensor,
    timesteps: Timesteps = "reference",
) -> tuple[Tensor, Tensor]:
    """Invert latents stochastically, then regenerate them under guidance.

    predict         the network, for one time step and branch
    z0              latents of the source images, (B, 4, h, w) float32
    alphas_cumprod  (T,) float32
    strength        share of the schedule, 0 < strength < 1
    steps           DDIM steps over the whole schedule; int(steps * strength) are taken
    guidance        classifier-free guidance scale; at exactly 1 the unconditional branch is not asked
    eta             0 deterministic .. 1 ancestral
    invert_noise    (B, 4, h, w)
    step_noise      one (B, 4, h, w) for each step taken, also when eta is 0
    timesteps       "reference" or "aligned", see `make_plan`

    Returns (inverted, result), both (B, 4, h, w). Raises SettingsError as `make_plan`.
    """
    plan = make_plan(alphas_cumprod, strength=strength, steps=steps, timesteps=timesteps)
    if len(step_noise) < len(plan.decode):
        raise ValueError(f"step_noise has {len(step_noise)} entries, {len(plan.decode)} steps are taken")
    inverted = invert(predict, z0, plan, invert_noise)
    x = inverted
    for i, t in enumerate(plan.decode):
        eps = guided_noise(predict, x, t, guidance)
        x = ddim_step(x, eps, plan.abar[i], plan.abar_prev[i], eta, step_noise[i])
    return inverted, x


def invert(predict: Predict, z0: Tensor, plan: Plan, noise: Tensor) -> Tensor:
    """Noise z0, ask the network once which noise it sees, and noise z0 with that instead; (B, 4, h, w)."""
    eps = predict(add_noise(z0, noise, plan.abar_invert), plan.invert, "cond")
    return add_noise(z0, cast(Tensor, eps), plan.abar_invert)


def guided_noise(predict: Predict, x: Tensor, t: int, guidance: float) -> Tensor:
    """uncond + guidance (cond - uncond), (B, 4, h, w)."""
    if guidance == 1.0:
        return cast(Tensor, predict(x, t, "cond"))
    cond, uncond = predict(x, t, "both")
    return uncond + guidance * (cond - uncond)


def ddim_step(x: Tensor, eps: Tensor, abar: float, abar_prev: float, eta: float, noise: Tensor) -> Tensor:
    """One DDIM step from the noise level `abar` to `abar_prev`, (B, 4, h, w)."""
    sigma = eta * math.sqrt((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev))
    z0 = (x - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
    return math.sqrt(abar_prev) * z0 + math.sqrt(1 - abar_prev - sigma**2) * eps + sigma * noise


def add_noise(z0: Tensor, noise: Tensor, abar: float) -> Tensor:
    """q_sample: sqrt(abar) z0 + sqrt(1 - abar) noise, (B, 4, h, w)."""
    return math.sqrt(abar) * z0 + math.sqrt(1 - abar) * noise
