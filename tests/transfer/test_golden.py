"""The sampler against traces of the original sampler with an analytic noise model (tests/data/golden)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zodi.transfer.sampler import transfer_latents
from zodi.transfer.schedule import alphas_cumprod

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "golden").glob("*.npz"))
SD15 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def analytic_eps(x: torch.Tensor, t: int, c: float) -> torch.Tensor:
    return torch.tanh(0.7 * x + 0.3 * torch.roll(x, 1, -1) + 0.2 * np.sin(t / 100) + 0.25 * c)


def replay(
    path: Path, timesteps: str = "reference"
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, float]], dict[str, np.ndarray]]:
    trace = dict(np.load(path))
    strength, guidance, eta, steps, cond, uncond = trace["params"].tolist()
    calls: list[tuple[int, float]] = []

    def one(x: torch.Tensor, t: int, c: float) -> torch.Tensor:
        calls.append((t, c))
        return analytic_eps(x, t, c)

    def predict(x, t, branch):
        if branch == "both":
            return one(x, t, cond), one(x, t, uncond)
        return one(x, t, {"cond": cond, "uncond": uncond}[branch])

    inverted, result = transfer_latents(
        predict,
        torch.from_numpy(trace["z0"]),
        alphas_cumprod=alphas_cumprod(SD15),
        strength=strength,
        steps=int(steps),
        guidance=guidance,
        eta=eta,
        invert_noise=torch.from_numpy(trace["invert_noise"]),
        step_noise=torch.from_numpy(trace["step_noise"]),
        timesteps=timesteps,
    )
    return inverted.numpy(), result.numpy(), calls, trace


def test_there_are_traces():
    assert len(GOLDEN) >= 2


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_matches_the_original(path):
    inverted, result, calls, trace = replay(path)
    assert np.abs(inverted - trace["inverted"]).max() <= 1e-4
    assert np.abs(result - trace["result"]).max() <= 1e-4
    assert calls == [tuple(row) for row in trace["calls"].tolist()]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_aligned_noises_to_the_first_decoded_step(path):
    inverted, _, calls, trace = replay(path, "aligned")
    assert calls[0][0] == calls[1][0]
    assert np.abs(inverted - trace["inverted"]).max() > 1e-2
