"""Muon (Jordan 2024): momentum whose matrices are made orthogonal. It takes far fewer steps than AdamW from scratch.

Measured on the autoencoder, 120 steps of four crops: loss 0.83 with AdamW, 0.45 with Muon on its convolutions and
second convolutions of residual blocks that start at zero; a step costs 6 to 15 % more.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
SMALLEST = 8  # matrices with a smaller side, the first and last layers, are AdamW's
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For matrices and convolution weights, which count as matrices (out, in * height * width).

    Updates are scaled to the size of AdamW's (Liu et al. 2025), so that both take the same learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"lr": rate})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                matrix = parameter.grad.lerp(momentum, MOMENTUM).flatten(1)
                update = orthogonal(matrix).reshape(parameter.shape)
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T, by Newton-Schulz iterations.

    They multiply by polynomials of X X^T, so all but the first and the last product are those of the short side.
    """
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    square = x @ x.T
    identity = torch.eye(len(square), dtype=x.dtype, device=x.device)
    product = identity
    for _ in range(ITERATIONS):
        factor = a * identity + b * square + c * square @ square
        product = factor @ product
        square = factor @ square @ factor
    x = product @ x
    return x if wide else x.T


@torch.no_grad()
def start_as_identities(module: nn.Module) -> None:
    """Zero the last weights of residual branches: residual, attention and feed-forward blocks pass on what they get."""
    for name, parameter in module.named_parameters():
        if name.endswith(("conv2.weight", "to_out.0.weight", "ff.net.2.weight")):
            parameter.zero_()


def make_optimizers(modules: dict[str, nn.Module], rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the networks, AdamW for all else."""
    named = [(f"{name}.{key}", p) for name, module in modules.items() for key, p in module.named_parameters()]
    matrices = [p for key, p in named if p.ndim >= 2 and min(p.shape[:2]) >= SMALLEST and "embedding" not in key]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    return [Muon(matrices, rate), torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=1e-4)]
