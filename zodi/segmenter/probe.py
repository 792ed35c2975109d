"""What a net can take, and which of its parameters have no use, found by runs on tensors that hold no data.

torch's "meta" device computes shapes alone: a run costs next to no time and memory, and fails where a real one would.
"""

import copy
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from zodi.errors import ModelError
from zodi.segmenter.freezing import set_training
from zodi.segmenter.loop import Batch, Loss
from zodi.segmenter.nets import as_segmenter, build_net
from zodi.segmenter.objective import Whole

Size = tuple[int, int]

STEP = 32  # of the sizes that are tried where a net takes any multiple
LARGEST = 640  # side, of what is tried in search of a size that fits
# options of encoders that take more sizes by them, where timm knows them for the encoder
OPENING: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"dynamic_img_size": True, "patch_size": 16})
REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError)  # by which nets refuse a size


class Probe:
    """A net without data, of the same structure as another that it was made from and leaves alone."""

    def __init__(self, net: nn.Module, frozen: Collection[str] = ()) -> None:
        """frozen: parts that are not in training mode where the net is; see `zodi.segmenter.freezing`."""
        data = {p: nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in net.parameters()}
        data |= {buffer: torch.empty_like(buffer, device="meta") for buffer in net.buffers()}  # type: ignore[misc]
        self._net = copy.deepcopy(net, {id(tensor): without for tensor, without in data.items()})
        self._frozen = frozen
        self.multiple = as_segmenter(net).multiple

    def refusal(self, size: Size, *, batch: int = 1, training: bool = False) -> str | None:
        """Why the net cannot take images of (height, width), in its own words; None: it can, or nobody knows."""
        if any(side % self.multiple for side in size):
            return f"its sides must be multiples of {self.multiple}"
        self._net.eval()
        if training:
            set_training(self._net, self._frozen)
        try:
            with torch.no_grad():
                logits = self._net(torch.empty(batch, 3, *size, device="meta"))
        except NotImplementedError:  # an operation that needs data
            return None
        except REFUSALS as error:
            return " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        found = tuple(logits.shape[-2:])
        return None if found == size else f"it makes {found[0]}x{found[1]} of it"

    def fitting(self, size: Size, *, batch: int = 1, training: bool = False) -> Size | None:
        """A (height, width) that the net takes: the next larger one, else a square; None where none was found."""
        step = self.multiple if self.multiple > 1 else STEP
        sides = range(step, LARGEST + 1, step)
        larger = [(_up(max(size[0], side), step), _up(max(size[1], side), step)) for side in sides]
        tried = [*larger, *((side, side) for side in sides)]
        new = (later for earlier, later in pairwise([size, *tried]) if later != earlier)
        return next((s for s in new if self.refusal(s, batch=batch, training=training) is None), None)

    def without_gradient(self, loss: Loss, crop: Size, *, batch: int) -> list[str]:
        """Names of the parameters that a step's loss does not depend on.

        Processes that train together wait for the gradients of all parameters, for ever where there is none.
        """
        labels = torch.zeros(batch, *crop, dtype=torch.int64, device="meta")
        images = torch.empty(batch, 3, *crop, device="meta")
        fake: Batch = {"image": images, "synthetic": images, "label": labels, "synthetic_label": labels}
        valid = {name: torch.ones((), device="meta") for name in fake if name.endswith("label")}
        set_training(self._net, self._frozen)
        self._net.zero_grad()
        try:
            loss(self._net, fake, Whole(valid))["loss"].backward()  # type: ignore[no-untyped-call]
        except NotImplementedError:  # an operation that needs data
            return []
        return [name for name, p in self._net.named_parameters() if p.requires_grad and p.grad is None]


def opening_options(architecture: str, encoder: str, options: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Options by which a net that is built with them too takes images of (height, width); {} where none are known."""
    for more in OPENING:
        try:
            net = build_net(architecture, encoder, 2, options={**options, **more}).net
        except ModelError:
            continue
        multiple = as_segmenter(net).multiple
        if Probe(net).refusal((_up(size[0], multiple), _up(size[1], multiple)), batch=2, training=True) is None:
            return more
    return {}


def _up(side: int, step: int) -> int:
    return -(-side // step) * step
