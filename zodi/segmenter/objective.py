"""The supervised loss, exact over any number of processes."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from zodi.labels import IGNORE

Mean = Callable[[Tensor], Tensor]  # mean of a tensor over all processes; the identity for one


def cross_entropy(logits: Tensor, labels: Tensor, mean: Mean) -> Tensor:
    """Cross entropy, the mean over all valid pixels of the step, as a scalar.

    logits  (B, L, H, W)
    labels  (B, H, W) int64, 0..L-1, 255 = void: does not count
    mean    counts the valid pixels of all processes, so that the mean of the processes' gradients is that of the
            whole batch, however void pixels are spread; where none is valid the loss is 0
    """
    valid = (labels != IGNORE).sum().to(torch.float32)
    total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / mean(valid).clamp(min=1)
