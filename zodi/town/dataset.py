"""Scenes as a data set on disk: the `folder` layout, which every command reads."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zodi.errors import OutputError, SettingsError
from zodi.files import write_atomic
from zodi.town import check_request, render

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DESCRIPTION = "dataset.json"  # written last: a directory that has it is complete
PLAN = "town.json"  # written first: what an unfinished directory is to become
SCENES_PER_SEED = 1_000_000


def scene_seed(seed: int, index: int) -> int:
    """The seed that `render` is given for a scene of a data set: seed * 1,000,000 + index."""
    return seed * SCENES_PER_SEED + index


def scene_key(seed: int, index: int) -> str:
    """The key of a scene, in every domain the same: "town-000123" is the scene that `render(123, ...)` shows."""
    return f"town-{scene_seed(seed, index):06d}"


def write_dataset(
    directory: Path,
    *,
    domain: str,
    scenes: int,
    seed: int,
    size: tuple[int, int] = (128, 256),
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write `images/KEY.png`, `labels/KEY.png` (8-bit train ids), `dataset.json`; return how many were rendered.

    directory  new, empty, or an unfinished or finished data set of the same settings: scenes that are there stay
    domain     one of `zodi.town.DOMAINS`; the same seed in two domains gives the same keys and the same labels
    scenes     1 <= scenes <= 1,000,000
    seed       scene i is `render(seed * 1,000,000 + i, domain, size)`
    size       (height, width) in pixels
    progress   called after each scene with the number that are done

    Raises SettingsError for values out of range, OutputError where the directory holds something else.
    """
    if not 1 <= scenes <= SCENES_PER_SEED:
        raise SettingsError(f"scenes is {scenes}, allowed is 1 to {SCENES_PER_SEED}: use another seed for more")
    check_request(scene_seed(seed, 0), domain, size)
    check_request(scene_seed(seed, scenes - 1), domain, size)
    description = {
        "dataset": "folder",
        "label_set": "cityscapes",
        "labels": "train-ids",
        "name": f"town-{domain}",
        "domain": domain,
        "seed": seed,
        "scenes": scenes,
        "size": list(size),
    }
    _open_directory(directory, description)
    rendered = 0
    for index in range(scenes):
        name = f"{scene_key(seed, index)}.png"
        image_path, label_path = directory / "images" / name, directory / "labels" / name
        if not (image_path.exists() and label_path.exists()):
            image, label = render(scene_seed(seed, index), domain, size)
            write_atomic(label_path, _png(label), sync=False)
            write_atomic(image_path, _png(image), sync=False)
            rendered += 1
        if progress:
            progress(index + 1)
    write_atomic(directory / DESCRIPTION, _json(description))
    (directory / PLAN).unlink(missing_ok=True)
    return rendered


def _open_directory(directory: Path, description: dict[str, Any]) -> None:
    """Leave the plan in a new directory; accept an old one only if it is, or is to become, the same data set."""
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory}: is a file, a directory is needed: choose another name")
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    found = next((name for name in (DESCRIPTION, PLAN) if name in names), None)
    if found is None:
        if names:
            raise OutputError(
                f"{directory}: holds {names[0]!r} and is no street world data set: choose an empty directory"
            )
        write_atomic(directory / PLAN, _json(description))
        return
    try:
        there = json.loads((directory / found).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict):
        raise OutputError(f"{directory / found}: cannot be read: remove the directory or choose another")
    for key, value in description.items():
        if key != "name" and there.get(key) != value:
            raise OutputError(
                f"{directory}: holds a data set with {key} = {there.get(key)!r}, asked for is {value!r}: "
                "choose another directory, or the same settings to complete it"
            )


def _png(pixels: "NDArray[np.uint8]") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
