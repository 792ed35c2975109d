"""Pairs of a labelled source image and what transfer made of it, found by key."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zodi.data import Dataset, Sample
from zodi.errors import DataError
from zodi.transfer.items import mask_path, result_path
from zodi.transfer.manifest import Row, read_rows
from zodi.transfer.settings import RUN_FILE, read_run


@dataclass(frozen=True)
class Partner:
    """A synthetic image of a source image; mask: a file whose pixels of 255 do not count, or None."""

    domain: str
    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Pair:
    """A labelled source image and its synthetic partners, one for each domain that has one."""

    sample: Sample
    partners: tuple[Partner, ...]


@dataclass(frozen=True)
class Synthetic:
    """Synthetic images of one domain: `root/domain/<key>.png`; rows: of the transfer's manifest, by key."""

    domain: str
    root: Path
    rows: Mapping[str, Row]


def open_synthetic(directory: Path) -> list[Synthetic]:
    """The domains of a transfer's output, or the one of a folder OUT/<domain> with images <key>.png.

    Raises DataError where there is neither.
    """
    if (directory / RUN_FILE).is_file():
        return _of_run(directory, None)
    if (directory.parent / RUN_FILE).is_file():
        return _of_run(directory.parent, directory.name)
    if not any(directory.rglob("*.png")):
        raise DataError(f"{directory}: holds no PNG images: give the output folder of zodi transfer")
    return [Synthetic(directory.name, directory.parent, {})]


def find_pairs(dataset: Dataset, directories: Sequence[Path]) -> list[Pair]:
    """Every sample of a data set with its partners, in the data set's order.

    An image that transfer gave up or put into quarantine is left out; a sample that has no partner left is, too.
    Raises DataError, naming it, for a partner that is missing for no such reason, and for a sample without a label.
    """
    domains = [synthetic for directory in directories for synthetic in open_synthetic(directory)]
    names = [synthetic.domain for synthetic in domains]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{directories[-1]}: domain {twice!r} is given twice: name each folder once")
    pairs = []
    for sample in dataset.samples:
        if sample.label is None:
            raise DataError(f"{sample.image}: has no label: adaptation needs one for every source image")
        found = tuple(p for synthetic in domains if (p := _partner(synthetic, sample)) is not None)
        if found:
            pairs.append(Pair(sample, found))
    if not pairs:
        raise DataError(f"{directories[0]}: all images of it were rejected: see zodi transfer status")
    return pairs


def in_holdout(key: str, share: float) -> bool:
    """Whether an image is kept out of training: by its key alone, so that every run keeps out the same."""
    digest = hashlib.sha256(f"holdout|{key}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _of_run(output: Path, only: str | None) -> list[Synthetic]:
    domains = read_run(output)["domains"]
    if only is not None and only not in domains:
        raise DataError(f"{output / only}: is no domain of the transfer in {output}: it has {', '.join(domains)}")
    rows = read_rows(output, {name: domain["hash"] for name, domain in domains.items()})
    return [
        Synthetic(name, output, {key: row for (domain, key), row in rows.items() if domain == name})
        for name in domains
        if only in (None, name)
    ]


def _partner(synthetic: Synthetic, sample: Sample) -> Partner | None:
    row = synthetic.rows.get(sample.key)
    if row is not None and row.status != "ok":
        return None
    image = result_path(synthetic.root, synthetic.domain, sample.key)
    if not image.is_file():
        raise DataError(
            f"{image}: is missing, the {synthetic.domain} partner of source image {sample.key!r}: finish the transfer, "
            "or take the image out of the source"
        )
    mask = mask_path(synthetic.root, synthetic.domain, sample.key)
    return Partner(synthetic.domain, image, mask if mask.is_file() else None)
