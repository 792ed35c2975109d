"""The supervised loss: terms of PyTorch and segmentation-models-pytorch, exact however a step is cut where they can."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from zodi.labels import IGNORE

OF_PARTS = ("dice", "lovasz", "ohem")  # terms that depend on which pixels are looked at together
OHEM_PROBABILITY = 0.7  # pixels whose class has less are hard (Yu et al., BiSeNet, arXiv 1808.00897)
OHEM_SHARE = 16  # at least one of so many pixels counts, the hardest ones, as there

# logits (B, L, H, W), labels (B, H, W), valid pixels as in `Whole` -> scalar
Supervised = Callable[[Tensor, Tensor, Tensor], Tensor]


class Whole(NamedTuple):
    """What a part of a step has to know of the whole step, so that its terms add up to those of the whole.

    valid  by the name of a label in the batch: its pixels that are not void, the mean over processes, ()
    share  this part's share of the images that the process has in the step, 0..1
    """

    valid: dict[str, Tensor]
    share: float = 1.0


def cross_entropy(logits: Tensor, labels: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross entropy, this part's share of the mean over all valid pixels of the step, as a scalar.

    logits  (B, L, H, W)
    labels  (B, H, W) int64, 0..L-1, 255 = void: does not count
    valid   see `Whole`: with it the mean of the processes' gradients is that of the whole batch, however void pixels
            are spread; where none is valid the loss is 0
    weight  (L,) factors of the pixels of each class; the sum is still divided by the number of pixels
    """
    total = functional.cross_entropy(logits.float(), labels, weight, ignore_index=IGNORE, reduction="sum")
    return total / valid.clamp(min=1)


def make_supervised(terms: dict[str, float], weights: Sequence[float] | None, logits: int) -> Supervised:
    """The sum of terms by name (see `zodi.segmenter.settings.LOSSES`) times their factors.

    weights  of the classes, for all terms but "lovasz", which has none; None: all the same
    logits   channels of the net's output; a logit of no class is never the truth and has no weight

    Void pixels have no part in any of them, and labels that are all void give 0. "cross-entropy" and "focal" are means
    over pixels, and so the same however many processes and parts share a step. Those of OF_PARTS are taken of each
    part, which counts by its share of the step's valid pixels.
    """
    padded = None if weights is None else [*weights, *[0.0] * (logits - len(weights))]
    if terms == {"cross-entropy": 1.0} and padded is None:
        return cross_entropy
    losses = {name: _make_term(name, padded) for name in terms}

    def supervised(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        logits = logits.float()
        if not (labels != IGNORE).any():
            return logits.sum() * 0.0
        return torch.stack([terms[name] * loss(logits, labels, valid) for name, loss in losses.items()]).sum()

    return supervised


def _make_term(name: str, weights: list[float] | None) -> Supervised:
    from segmentation_models_pytorch import losses as smp

    tensor = None if weights is None else torch.tensor(weights)

    def weight(logits: Tensor) -> Tensor | None:
        return None if tensor is None else tensor.to(logits.device)

    if name == "cross-entropy":
        return lambda logits, labels, valid: cross_entropy(logits, labels, valid, weight(logits))
    if name == "focal":  # its own mean over no pixel would be NaN
        focal = smp.FocalLoss(smp.MULTICLASS_MODE, ignore_index=IGNORE, reduction="sum", class_weights=weights)
        return lambda logits, labels, valid: focal(logits, labels) / valid.clamp(min=1)
    whole: Callable[[Tensor, Tensor], Tensor] = {
        "dice": smp.DiceLoss(smp.MULTICLASS_MODE, ignore_index=IGNORE, class_weights=weights),
        "lovasz": smp.LovaszLoss(smp.MULTICLASS_MODE, ignore_index=IGNORE),
        "ohem": lambda logits, labels: hard_cross_entropy(logits, labels, weight(logits)),
    }[name]
    return lambda logits, labels, valid: whole(logits, labels) * (labels != IGNORE).sum() / valid.clamp(min=1)


def hard_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross entropy of the hard pixels, online hard example mining (Shrivastava et al., arXiv 1604.03540).

    logits, labels, weight  as of `cross_entropy`; at least one pixel must be valid
    """
    labels = labels.flatten()
    losses = functional.cross_entropy(
        logits.movedim(1, -1).flatten(0, -2), labels, ignore_index=IGNORE, reduction="none"
    )
    valid = labels != IGNORE
    losses, labels = losses[valid], labels[valid]
    least = losses.detach().topk(math.ceil(len(losses) / OHEM_SHARE)).values[-1]
    hard = losses.detach() >= least.clamp(max=-math.log(OHEM_PROBABILITY))
    weighted = losses if weight is None else losses * weight[labels]
    return weighted[hard].mean()
