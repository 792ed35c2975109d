"""Weights from files that were not made here: of torch or safetensors, of an encoder or a whole net."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zodi.errors import ModelError

# top-level parts of classifiers that weight files hold and encoders lack
CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.", "conv_head.", "bn2.")
# keys under which programs save a state dict beside other things
WRAPPERS = ("state_dict", "model_state_dict", "model")
DEPTH = 3  # names that may be put before those of a net, as by DistributedDataParallel ("module.")


def load_encoder_weights(encoder: nn.Module, path: Path, name: str) -> None:
    """Put the tensors of a file into an encoder; every parameter must be there, in its shape, and none be left over.

    Classifier layers in the file are left out, timm's names get the library's prefix. Raises ModelError that counts
    what does not fit.
    """
    own = encoder.state_dict()
    tensors = read_tensors(path)
    if all(key.startswith("model.") for key in own) and not any(key.startswith("model.") for key in tensors):
        tensors = {f"model.{key}": value for key, value in tensors.items() if not key.startswith(CLASSIFIERS)}
    tensors = {key: value for key, value in tensors.items() if key in own or not key.startswith(CLASSIFIERS)}
    if found := _misfits(own, tensors):
        raise ModelError(f"{path}: the weights do not fit encoder {name!r}: {found}: give its own file")
    encoder.load_state_dict(own | tensors)


def load_net_weights(net: nn.Module, path: Path, name: str) -> None:
    """Put the state dict of a file into a net, whatever stands before its names; all must be there, and no others.

    So a file of DistributedDataParallel ("module."), torch.compile or a Lightning module ("model.") fits. What a file
    holds under other names, e.g. the state of a loss, is left out. Raises ModelError that counts what does not fit.
    """
    own, tensors = net.state_dict(), read_tensors(path)
    heads = {"", *(f"{'.'.join(key.split('.')[:n])}." for key in tensors for n in range(1, DEPTH + 1))}
    fitting = {head: sum(head + key in tensors for key in own) for head in heads}
    most = max(fitting.values())
    found = sorted((head for head, count in fitting.items() if count == most), key=len)
    if most > len(own) / 2 and len(found) > 1:
        raise ModelError(f"{path}: holds several nets ({', '.join(found)}): save the state_dict() of one alone")
    inside = {key.removeprefix(found[0]): value for key, value in tensors.items() if key.startswith(found[0])}
    if misfits := _misfits(own, inside):
        raise ModelError(
            f"{path}: the weights do not fit {name}: {misfits}: give the --architecture, --encoder and --net-option "
            "that they are of, and labels of as many classes"
        )
    net.load_state_dict(own | inside)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file of torch that holds a state dict, alone or under WRAPPERS.

    Files of torch are read without running code. Raises ModelError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load(path.read_bytes())
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}): check the path") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        foreign = re.search(r"Unsupported (?:global|class)\S*:? (?:GLOBAL )?(\S+)", str(error))
        if foreign:
            raise ModelError(
                f"{path}: holds {foreign[1]}, and only tensors are opened: save the state_dict() alone, with torch.save"
            ) from None
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: is damaged or no weight file ({reason}): copy it again") from None
    for wrapper in WRAPPERS:
        content = content[wrapper] if isinstance(content, dict) and isinstance(content.get(wrapper), dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no state dict: save the state_dict() alone, with torch.save")
    return content


def _misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """How many names of a file do not fit those of a module, with one of each kind; "" where all do."""
    unknown = [key for key in tensors if key not in own]
    # files from before 2018 have no counters
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    shapes = [key for key, value in tensors.items() if key in own and value.shape != own[key].shape]
    found = [
        f"{len(keys)} of {count} {what} (e.g. {keys[0]})"
        for keys, count, what in (
            (missing, len(own), "missing"),
            (unknown, len(tensors), "unknown"),
            (shapes, len(tensors), "of another shape"),
        )
        if keys
    ]
    if shapes:
        found.append(f"there {tuple(tensors[shapes[0]].shape)}, needed {tuple(own[shapes[0]].shape)}")
    return ", ".join(found)
