"""A segmenter on disk: a directory with `model.safetensors` (weights) and `model.json` (everything else)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zodi.errors import ModelError
from zodi.files import write_atomic
from zodi.segmenter.info import SegmenterInfo as SegmenterInfo
from zodi.segmenter.info import info_from_json
from zodi.segmenter.info import palette_of as palette_of
from zodi.segmenter.nets import build_net
from zodi.segmenter.weight_files import read_tensors

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Segmenter:
    """A net in evaluation mode and what is known of it."""

    net: nn.Module
    info: SegmenterInfo


def save_checkpoint(directory: Path, weights: Mapping[str, Tensor], info: SegmenterInfo) -> None:
    """Write a checkpoint; each file is whole or not there, the description comes last.

    Raises OutputError where it cannot be written.
    """
    # a description left from before would vouch for the new weights
    (directory / DESCRIPTION).unlink(missing_ok=True)
    write_tensors(directory / WEIGHTS, weights)
    write_atomic(directory / DESCRIPTION, (json.dumps(asdict(info), indent=2, ensure_ascii=False) + "\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a .safetensors file. Raises OutputError where it cannot be written."""
    from safetensors.torch import save

    write_atomic(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


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
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a valid JSON file ({error}): copy the checkpoint again") from None
    return info_from_json(content, str(path))


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
