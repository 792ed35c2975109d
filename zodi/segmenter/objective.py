"""The supervised loss, exact over any number of processes and of parts that a step is cut into."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from zodi.labels import IGNORE


class Whole(NamedTuple):
    """What a part of a step has to know of the whole step, so that its terms add up to those of the whole.

    valid  by the name of a label in the batch: its pixels that are not void, the mean over processes, ()
    share  this part's share of the images that the process has in the step, 0..1
    """

    valid: dict[str, Tensor]
    share: float = 1.0


def cross_entropy(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy, this part's share of the mean over all valid pixels of the step, as a scalar.

    logits  (B, L, H, W)
    labels  (B, H, W) int64, 0..L-1, 255 = void: does not count
    valid   see `Whole`: with it the mean of the processes' gradients is that of the whole batch, however void pixels
            are spread; where none is valid the loss is 0
    """
    total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / valid.clamp(min=1)
