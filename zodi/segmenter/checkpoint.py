"""A segmenter on disk: a directory with `model.safetensors` (weights) and `model.json` (everything else)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zodi.errors import ModelError
from zodi.files import write_atomic
from zodi.labels import IGNORE, Colour, LabelSet
from zodi.segmenter.nets import VOID_LOGIT, build_net, read_tensors

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
RESIZE_KERNELS = ("lanczos",)


@dataclass(frozen=True)
class SegmenterInfo:
    """What `model.json` says.

    architecture, encoder, options  what `build_net` is called with
    classes    names by train id; the net has as many logits, one more with the option "void_logit"
    palette    colours by train id
    ignore     train id of void
    mean, std  of the input, RGB, of values 0..1
    size       (height, width) that images were resized to in training
    resize     the kernel that did it
    """

    architecture: str
    encoder: str
    options: Mapping[str, Any]
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: tuple[int, int]
    ignore: int = IGNORE
    resize: str = "lanczos"

    @property
    def logits(self) -> int:
        """How many channels the net's output has."""
        return len(self.classes) + bool(self.options.get(VOID_LOGIT, False))


@dataclass(frozen=True)
class Segmenter:
    """A net in evaluation mode and what is known of it."""

    net: nn.Module
    info: SegmenterInfo


def palette_of(label_set: LabelSet) -> tuple[Colour, ...]:
    """The colours of the train ids 0..C-1."""
    rows = label_set.palette[: label_set.num_classes].tolist()
    return tuple((red, green, blue) for red, green, blue in rows)


def save_checkpoint(directory: Path, weights: Mapping[str, Tensor], info: SegmenterInfo) -> None:
    """Write a checkpoint; each file is whole or not there, the description comes last.

    Raises OutputError where it cannot be written.
    """
    from safetensors.torch import save

    # a description left from before would vouch for the new weights
    (directory / DESCRIPTION).unlink(missing_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomic(directory / WEIGHTS, save(tensors))
    write_atomic(directory / DESCRIPTION, (json.dumps(asdict(info), indent=2, ensure_ascii=False) + "\n").encode())


def load_checkpoint(directory: Path, *, device: str | torch.device = "cpu") -> Segmenter:
    """Read a checkpoint and build its net.

    Raises ModelError for missing, damaged and foreign files, and for weights that are not those of the description.
    """
    info = read_info(directory)
    tensors = read_tensors(directory / WEIGHTS)
    net = build_net(info.architecture, info.encoder, len(info.classes), options=info.options).net
    own = net.state_dict()
    _check_logits(directory, info, own, tensors)
    for what, names in (
        ("lack", own.keys() - tensors.keys()),
        ("have the unknown tensor", tensors.keys() - own.keys()),
        ("have another shape for", {name for name in own.keys() & tensors if own[name].shape != tensors[name].shape}),
    ):
        if names:
            raise ModelError(
                f"{directory / WEIGHTS}: the weights {what} {min(names)} ({len(names)} in all): "
                f"they are not of {info.architecture} on {info.encoder} as {DESCRIPTION} says"
            )
    net.load_state_dict(tensors)
    return Segmenter(net.eval().to(device), info)


def read_info(directory: Path) -> SegmenterInfo:
    """The description of a checkpoint. Raises ModelError."""
    path = directory / DESCRIPTION
    for needed in (path, directory / WEIGHTS):
        if not needed.is_file():
            raise ModelError(
                f"{needed}: no such file: a checkpoint is a directory with {WEIGHTS} and {DESCRIPTION}, "
                "as a finished `zodi adapt` leaves it"
            )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a valid JSON file ({error}): copy the checkpoint again") from None
    known = [field.name for field in fields(SegmenterInfo)]
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds no JSON object: copy the checkpoint again")
    wrong = [f"unknown key {key!r}" for key in content if key not in known]
    wrong += [f"no key {key!r}" for key in known if key not in content]
    if wrong:
        raise ModelError(f"{path}: {wrong[0]}: its keys must be {', '.join(known)}")
    try:
        info = SegmenterInfo(
            architecture=str(content["architecture"]),
            encoder=str(content["encoder"]),
            options=dict(content["options"]),
            classes=tuple(map(str, content["classes"])),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in content["palette"]),
            mean=_three(content["mean"]),
            std=_three(content["std"]),
            size=(int(content["size"][0]), int(content["size"][1])),
            ignore=int(content["ignore"]),
            resize=str(content["resize"]),
        )
    except (TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{path}: a value has the wrong form ({error}): copy the checkpoint again") from None
    if len(info.palette) != len(info.classes):
        raise ModelError(f"{path}: {len(info.classes)} classes and {len(info.palette)} colours: give one for each")
    if info.resize not in RESIZE_KERNELS:
        raise ModelError(f"{path}: unknown resize kernel {info.resize!r}: allowed are {', '.join(RESIZE_KERNELS)}")
    return info


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


def _check_logits(
    directory: Path, info: SegmenterInfo, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """The commonest mistake first: a class list that was edited, or belongs to other weights."""
    last = [name for name in own if name.startswith(("classifier.", "segmentation_head."))]
    for name in last:
        if (
            name in tensors
            and own[name].shape[1:] == tensors[name].shape[1:]
            and own[name].shape != tensors[name].shape
        ):
            raise ModelError(
                f"{directory}: {DESCRIPTION} lists {len(info.classes)} classes ({info.logits} logits), "
                f"the weights have {tensors[name].shape[0]} logits: use the {DESCRIPTION} that was saved with them"
            )
