"""What goes into a batch: images read ahead of the engine, and the domains each still has to be transferred to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zodi.data import Dataset, Sample, check_pair, read_image, read_label
from zodi.data.images import open_regular
from zodi.domains import Domain
from zodi.errors import DataError, ZodiError
from zodi.labels import Ids
from zodi.memory import is_out_of_memory
from zodi.model import ModelInfo
from zodi.transfer.images import Planes, control_image, control_planes, resize_label, source_planes, working_size
from zodi.transfer.manifest import Row, file_sha256
from zodi.transfer.pipeline import Run, Sampling, encode_text, tokenize
from zodi.transfer.settings import TransferSettings

LONGEST = 1000  # times the short side; at a working size that is more than any model gets done
NO_MEMORY = "does not fit into memory: make it smaller, or use a smaller --image-size"


@dataclass(frozen=True)
class Target:
    """One domain of a run and the hash of its settings."""

    domain: str
    settings: str


@dataclass(frozen=True)
class Job(Target):
    """What the engine needs besides: the domain's sampling and its prompts as hidden states (1, 77, D)."""

    sampling: Sampling
    cond: Tensor
    uncond: Tensor

    @property
    def target(self) -> Target:
        """The same without what only the engine needs."""
        return Target(self.domain, self.settings)


@dataclass(frozen=True)
class Item:
    """One image ready for the engine.

    image, layout  planes (3, h, w) of the source and the control map
    label          train ids (h, w)
    source_size    (height, width) of the source image
    pending        the domains that are still to be made
    attempt        which try it is, from 0
    """

    sample: Sample
    image: Planes
    layout: Planes
    label: Ids
    source_size: tuple[int, int]
    source_sha256: str
    label_sha256: str
    pending: tuple[str, ...]
    attempt: int = 0

    @property
    def pixels(self) -> int:
        """At the working size."""
        height, width = self.layout.shape[1:]
        return int(height * width)


def make_jobs(
    domains: Sequence[Domain],
    hashes: Mapping[str, str],
    settings: TransferSettings,
    *,
    run: Run,
    info: ModelInfo,
    tokenizer: Any,
    device: torch.device,
) -> list[Job]:
    """Encode the prompts, once per run; `hashes` holds each domain's settings hash. SettingsError for a bad prompt."""
    jobs = []
    for domain in domains:
        prompts = (domain.full_prompt, domain.negative_prompt)
        token_ids = torch.cat([tokenize(tokenizer, info, prompt) for prompt in prompts]).to(device)
        text = encode_text(run, token_ids)
        jobs.append(Job(domain.name, hashes[domain.name], settings.sampling(domain, info), text[:1], text[1:]))
    return jobs


def load_item(
    dataset: Dataset,
    sample: Sample,
    targets: Sequence[Target],
    *,
    output: Path,
    rows: Mapping[tuple[str, str], Row],
    info: ModelInfo,
    settings: TransferSettings,
) -> Item | DataError | None:
    """Read a sample; None where every domain of it is done, the error as a value where it cannot be used.

    Raises SettingsError for what would hold for every sample.
    """
    try:
        if sample.label is None:
            raise DataError(f"{sample.image}: has no label, and the control map is drawn from it")
        source_sha256, label_sha256 = _sha256(sample.image), _sha256(sample.label)
        pending = tuple(
            target.domain
            for target in targets
            if not _is_done(rows.get((target.domain, sample.key)), target, output, source_sha256, label_sha256)
        )
        if not pending:
            return None
        image, ids = read_image(sample.image), read_label(dataset, sample)
        check_pair(image, ids, sample)
        short, long = sorted(ids.shape)
        if long > LONGEST * short:
            raise DataError(
                f"{sample.image}: is {ids.shape[0]}x{ids.shape[1]} (height x width), one side more than {LONGEST} "
                "times as long as the other: cut it into parts"
            )
        size = size_of((image.shape[0], image.shape[1]), info, settings)
        control = control_image(ids, dataset.label_set, size, palette=settings.palette, resize=settings.control_resize)
        return Item(
            sample=sample,
            image=source_planes(image, size),
            layout=control_planes(control),
            label=dataset.label_set.id_to_train_id[resize_label(ids, size)],
            source_size=(image.shape[0], image.shape[1]),
            source_sha256=source_sha256,
            label_sha256=label_sha256,
            pending=pending,
        )
    except DataError as error:
        return error
    except ZodiError:
        raise
    except Exception as error:  # whatever it is, memory that this image alone fills too, must not end the run of others
        if is_out_of_memory(error):
            return DataError(f"{sample.image}: {NO_MEMORY}")
        return DataError(f"{sample.image}: cannot be used ({error!r}): copy or export it again")


def size_of(size: tuple[int, int], info: ModelInfo, settings: TransferSettings) -> tuple[int, int]:
    """The working size of an image of (height, width), see `working_size`."""
    image_size = settings.image_size or info.image_size
    return working_size(*size, image_size=image_size, multiple=info.dims.multiple)


def result_path(output: Path, domain: str, key: str, *, quarantined: bool = False) -> Path:
    """Where the result of an image is: `OUT/<domain>/<key>.png`, or below `OUT/quarantine/`."""
    return (output / "quarantine" if quarantined else output) / domain / f"{key}.png"


def mask_path(output: Path, domain: str, key: str) -> Path:
    """Where the mask of pixels to ignore (255) is: `OUT/masks/<domain>/<key>.png`."""
    return output / "masks" / domain / f"{key}.png"


def in_shard(key: str, shard: tuple[int, int]) -> bool:
    """Whether an image belongs to shard (i, n): sha256 of its key modulo n."""
    return int.from_bytes(hashlib.sha256(key.encode(errors="surrogateescape")).digest(), "big") % shard[1] == shard[0]


def _is_done(row: Row | None, target: Target, output: Path, source_sha256: str, label_sha256: str) -> bool:
    """Made with these settings, from these files, and on disk as it was written."""
    if row is None or row.status == "failed" or row.settings != target.settings:
        return False
    if (row.source_sha256, row.label_sha256) != (source_sha256, label_sha256):
        return False
    path = result_path(output, row.domain, row.key, quarantined=row.status == "quarantined")
    return path.is_file() and file_sha256(path) == row.sha256


def _sha256(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from None
