import math

import pytest
import torch

from zodi.domains import PRESETS
from zodi.errors import SettingsError
from zodi.transfer.schedule import alphas_cumprod, make_plan

SD15 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
ABAR = alphas_cumprod(SD15)


def test_alphas_are_those_of_diffusers():
    from diffusers import DDIMScheduler

    for kind in ("scaled_linear", "linear"):
        config = SD15 | {"beta_schedule": kind}
        theirs = DDIMScheduler(**config).alphas_cumprod
        assert torch.allclose(alphas_cumprod(config), theirs, rtol=2e-5)


@pytest.mark.parametrize(
    ("domain", "steps", "noised"),
    [("night", 18, 900), ("snow", 13, 650), ("rain", 13, 650), ("fog", 12, 600), ("game", 12, 600)],
)
def test_presets_visit_the_steps_of_the_original(domain, steps, noised):
    plan = make_plan(ABAR, strength=PRESETS[domain].strength, steps=20)
    assert len(plan.decode) == steps
    assert plan.invert == noised
    assert plan.decode[0] == 50 * (steps - 1) + 1
    assert plan.decode[-1] == 1
    assert plan.abar_prev[-1] == float(ABAR[0])
    assert plan.abar_prev[:-1] == plan.abar[1:]


def test_aligned_inverts_at_the_first_decoded_step():
    plan = make_plan(ABAR, strength=0.9, steps=20, timesteps="aligned")
    assert plan.invert == plan.decode[0] == 851
    assert math.isclose(plan.abar_invert, plan.abar[0])


@pytest.mark.parametrize(
    ("strength", "steps", "says"),
    [
        (0.0, 20, "0 < strength < 1"),
        (1.0, 20, "0 < strength < 1"),
        (float("nan"), 20, "0 < strength < 1"),
        (0.04, 20, "no step"),
        (0.9, 0, "divide"),
        (0.9, 30, "divide"),
    ],
)
def test_refuses(strength, steps, says):
    with pytest.raises(SettingsError, match=says):
        make_plan(ABAR, strength=strength, steps=steps)


def test_refuses_schedules_it_does_not_know():
    with pytest.raises(SettingsError, match="squaredcos"):
        alphas_cumprod(SD15 | {"beta_schedule": "squaredcos_cap_v2"})
    with pytest.raises(SettingsError, match="zero_snr"):
        alphas_cumprod(SD15 | {"rescale_betas_zero_snr": True})
