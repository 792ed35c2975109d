"""Exponential moving average of the weights (Polyak averaging), whose early steps do not outweigh the rest."""

import torch
from torch import Tensor, nn


class Averages:
    """The averaged weights of a net, batch norm statistics too; integers are copied.

    The decay of update n = 1, 2, ... is min(decay, n / (n + 10)): with a constant decay of 0.999 the random first
    weights would still make up a third of the average after a thousand steps.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {name: t.detach().clone() for name, t in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the averages towards the weights of the net."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1.0 - decay)
            else:
                self.weights[name].copy_(tensor)
