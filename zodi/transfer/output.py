"""The output folder of a run: whether it may be used, and its run.json, which several runs may share."""

import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

from zodi import __version__
from zodi.data import Dataset
from zodi.errors import OutputError
from zodi.files import cannot_read
from zodi.locks import hold
from zodi.transfer.manifest import MANIFEST
from zodi.transfer.settings import RUN_FILE, difference, read_run, settings_hash, write_run

JOIN_SECONDS = 60.0  # to wait for other shards that write run.json, each for milliseconds


def check_output(output: Path, dataset: Dataset) -> None:
    """Raise OutputError where results cannot go there: inside the data set, a file, or a foreign folder's content."""
    resolved, root = output.resolve(), dataset.root.resolve()
    if resolved == root or root in resolved.parents:
        raise OutputError(f"{output}: lies inside the data set {dataset.root}: choose a place outside it")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file: give a folder with -o")
    if not output.is_dir() or (output / RUN_FILE).is_file():
        return
    try:
        names = sorted(path.name for path in output.iterdir())
    except OSError as error:
        raise cannot_read(output, error) from None
    own = (MANIFEST.split(".")[0], RUN_FILE)  # what a run that was killed at its start leaves
    found = next((name for name in names if not name.startswith(own)), None)
    if found is not None and any(output.glob("manifest*.jsonl")):
        raise OutputError(f"{output}: its {RUN_FILE} is lost: put it back, or use another -o")
    if found is not None:
        raise OutputError(f"{output}: holds {found!r} and no {RUN_FILE}: it is not a transfer's, choose another -o")


def hold_shared(output: Path) -> AbstractContextManager[None]:
    """Hold what all shards of a run write to, run.json and the card, against the others; waits for them."""
    return hold(output, output / f"{RUN_FILE}.lock", wait=JOIN_SECONDS)


def join_run(
    output: Path, described: Mapping[str, dict[str, Any]], dataset: Dataset, *, images: int, restart: bool
) -> None:
    """Write run.json: this run's domains beside those that are in the output already.

    described  settings by domain, see `TransferSettings.describe`
    images     of the run, before sharding
    restart    replace settings that differ, and a damaged run.json

    Raises OutputError where a domain is there with other settings, naming the first that differs.
    """
    with hold_shared(output):
        try:
            before = read_run(output)
        except OutputError:
            if not restart:
                raise
            before = {"domains": {}}
        for name, new in described.items():
            old = before["domains"].get(name)
            changed = difference(old["settings"], new) if old else None
            if changed is not None and not restart:
                raise OutputError(
                    f"{output}: has results of domain {name!r} made with other settings ({changed}): "
                    "use --restart to make them again, or another -o"
                )
        source = {
            "dataset": dataset.name,
            "root": str(dataset.root.resolve()),
            "split": dataset.split,
            "condition": dataset.condition,
            "labels": dataset.labels,
            "label_set": dataset.label_set.name,
        }
        entries = {
            name: {"images": images, "hash": settings_hash(settings), "settings": settings, "source": source}
            for name, settings in described.items()
        }
        run = {"versions": versions(), "domains": before["domains"] | entries}
        if run != before:
            write_run(output, run)


def versions() -> dict[str, str]:
    """Versions of zodi, Python and the packages whose results depend on them."""
    names = ("torch", "diffusers", "transformers", "numpy", "pillow")
    return {"zodi": __version__, "python": platform.python_version()} | {n: metadata.version(n) for n in names}
