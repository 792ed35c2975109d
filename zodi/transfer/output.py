"""The output folder of a run: whether it may be used, and its run.json, which several runs may share."""

import fcntl
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from zodi import __version__
from zodi.data import Dataset
from zodi.errors import OutputError
from zodi.transfer.manifest import MANIFEST
from zodi.transfer.settings import RUN_FILE, difference, read_run, settings_hash, write_run


def check_output(output: Path, dataset: Dataset) -> None:
    """Raise OutputError where results cannot go there: inside the data set, a file, or a foreign folder's content."""
    resolved, root = output.resolve(), dataset.root.resolve()
    if resolved == root or root in resolved.parents:
        raise OutputError(f"{output}: lies inside the data set {dataset.root}: choose a place outside it")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file: give a folder with -o")
    if output.is_dir() and not (output / RUN_FILE).is_file():
        own = (MANIFEST.split(".")[0], RUN_FILE)  # what a run that was killed at its start leaves
        found = next((path.name for path in sorted(output.iterdir()) if not path.name.startswith(own)), None)
        if found is not None:
            raise OutputError(f"{output}: holds {found!r} and no {RUN_FILE}: it is not a transfer's, choose another -o")


def join_run(
    output: Path, described: Mapping[str, dict[str, Any]], dataset: Dataset, *, images: int, restart: bool
) -> None:
    """Write run.json: this run's domains beside those that are in the output already.

    described  settings by domain, see `TransferSettings.describe`
    images     of the run, before sharding
    restart    replace settings that differ, and a damaged run.json

    Raises OutputError where a domain is there with other settings, naming the first that differs.
    """
    with lock(output):
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


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, against other processes that ask the same; waits for its turn."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}): check the path and permissions") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def versions() -> dict[str, str]:
    """Versions of zodi, Python and the packages whose results depend on them."""
    names = ("torch", "diffusers", "transformers", "numpy", "pillow")
    return {"zodi": __version__, "python": platform.python_version()} | {n: metadata.version(n) for n in names}
