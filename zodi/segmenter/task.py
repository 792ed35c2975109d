"""What a training is asked to do: batches, loss, checks, and who looks at the weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from zodi.data import Sample
from zodi.segmenter.images import InputForm
from zodi.segmenter.info import SegmenterInfo
from zodi.segmenter.loop import Batches, Loss
from zodi.segmenter.objective import Supervised
from zodi.segmenter.rare_classes import RareClasses


class MakeBatches(Protocol):
    """Batches for a net that takes images of a form, for one of several processes.

    rare  what images are drawn by; None: each once in an epoch
    """

    def __call__(self, form: InputForm, *, process: int, processes: int, rare: RareClasses | None) -> Batches: ...


class Validation(Protocol):
    """What is told of the weights that would be kept, in the main process."""

    def __call__(self, step: int, weights: dict[str, Tensor], info: SegmenterInfo) -> None:
        """After an epoch, and after the last step; the same step may come twice."""

    def finish(self, last: dict[str, Tensor], info: SegmenterInfo) -> dict[str, Tensor]:
        """The weights of the checkpoint."""
        ...


@dataclass(frozen=True)
class Task:
    """What a training minimises on which batches.

    make_loss   the loss, by how logits are compared with labels
    samples     of an epoch: there are len(samples) // batch steps
    check       looks at the data before the first step; DataError where there is nothing to learn
    described   what decides the weights besides settings and source data, for train.json
    files       bytes of the files besides the source's, by name
    validation  for the folder that a training writes to: looks at the weights after each epoch and at the end chooses
                those to keep
    statistics  name of the images in a batch that the kept weights' batch norm statistics are of; None: of all, as they
                came in training, the last ones most
    """

    batches: MakeBatches
    make_loss: Callable[[Supervised], Loss]
    samples: Sequence[Sample]
    check: Callable[[], None]
    described: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    validation: Callable[[Path], Validation] | None = None
    statistics: str | None = None
