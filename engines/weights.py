"""Weights of a model's parts: every tensor of a part comes from its file, or there is an error that names it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from zodi.engines.sources import STEM, STEMS, attempt, part_files, weights_fault
from zodi.errors import ModelError

Notify = Callable[[str], None]
SHOWN = 3  # keys that a message names
HARMLESS = ".position_ids"  # 0, 1, 2, ..., which text encoders of 2022 saved


@dataclass(frozen=True)
class PartSource:
    """Where a part's weights are: `folder` of a directory or hub repository `source`; "" for its own folder."""

    name: str
    source: str
    folder: str
    revision: str | None = None

    def file(self, variant: str | None) -> str:
        """The weight file, as a message names it."""
        stem = STEMS.get(self.name, STEM) + (f".{variant}" if variant else "")
        names = part_files(self.source, self.folder, None) if Path(self.source).is_dir() else []
        whole, sharded = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
        return "/".join(filter(None, (self.folder, sharded if sharded in names and whole not in names else whole)))


def load_weights(
    part: PartSource, load: Callable[..., tuple[Any, Mapping[str, Any]]], variant: str | None, notify: Notify
) -> tuple[Any, bool]:
    """A part, and whether its weights are of the variant; without such a file it is the usual one, as in diffusers.

    load    `from_pretrained` of its class, with what is special to that class
    notify  told of keys that the part has no place for

    Raises ModelError that names the keys which the file lacks, or has in other sizes.
    """
    everything = partial(
        load,
        part.source,
        subfolder=part.folder,
        revision=part.revision,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report, all of them
    )

    def attempts() -> tuple[Any, Mapping[str, Any], bool]:
        if variant is not None:
            try:
                return *everything(variant=variant), True
            except OSError as error:
                if f".{variant}." not in str(error):  # the name of the file that is missing
                    raise
        return *everything(variant=None), False

    try:
        module, report, of_variant = attempt(part.name, part.source, attempts)
    except ModelError:
        fault = weights_fault(part.name, part.source, part.folder, part.revision)
        if fault is None:
            raise
        raise ModelError(f"{part.source}: cannot load {part.name}: {fault}") from None
    _check_keys(part, part.file(variant if of_variant else None), module, report, notify)
    _check_finite(part, module)
    return module, of_variant


def weights_hash(parts: Mapping[str, nn.Module]) -> str:
    """sha256 over names, shapes and float32 values of all weights; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part, module in sorted(parts.items()):
        for name, tensor in sorted(module.state_dict().items()):
            name = name.removeprefix("text_model.")  # as some versions of transformers call the text encoder's
            digest.update(f"{part}.{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _check_keys(part: PartSource, file: str, module: nn.Module, report: Mapping[str, Any], notify: Notify) -> None:
    """Hold the loader's report, and what it left empty, against the part."""
    state = module.state_dict()
    sizes = {key: (tuple(there), tuple(wanted)) for key, there, wanted in report["mismatched_keys"]}
    # an index of shards may list keys that no shard has, which are left on the meta device and are not reported
    missing = {*report["missing_keys"], *(key for key, tensor in state.items() if tensor.is_meta)} - set(sizes)
    unexpected = {key for key in report["unexpected_keys"] if not key.endswith(HARMLESS)}
    where = f"{part.source}: {file if part.folder else f'{part.name}: {file}'}"
    if missing:
        raise ModelError(
            f"{where} lacks {len(missing)} of {len(state)} weights ({_some(missing)}): "
            + _likely_cause(missing, unexpected)
        )
    if sizes:
        key, (there, wanted) = min(sizes.items())
        raise ModelError(
            f"{where} has {len(sizes)} of {len(state)} weights in another size than config.json says "
            f"({key} is {_size(there)}, expected {_size(wanted)}): take config and weights of one model"
        )
    if unexpected:
        notify(f"{where} has weights that the model does not use ({len(unexpected)}): {_some(unexpected)}")


def _likely_cause(missing: Collection[str], unexpected: Collection[str]) -> str:
    """What is wrong with a file whose keys are not those of the part, and what to do."""
    for prefix, count in Counter(_prefix(key, missing) for key in unexpected).most_common():
        if prefix and 2 * count > len(missing):
            return f"its keys start with {prefix!r}: save the weights without that"
    if unexpected:
        others = f"{len(unexpected)} others ({_some(unexpected)})"
        return f"it has {others} and is of another model or format: give the file that belongs to config.json"
    return "it is incomplete: fetch or save it again"


def _prefix(key: str, missing: Collection[str]) -> str | None:
    """What stands before a missing key in `key`; transformers itself takes text_model. away."""
    for i, letter in enumerate(key):
        if letter == "." and key[i + 1 :] in missing:
            return key[: i + 1].removesuffix("text_model.") or None
    return None


def _some(keys: Collection[str]) -> str:
    return ", ".join(sorted(keys)[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _check_finite(part: PartSource, module: nn.Module) -> None:
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"{part.source}: {part.name} has a weight that is not finite ({key}): "
                "the file is damaged, fetch it again"
            )
