"""What a transfer would have left, made without one."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from zodi.transfer.manifest import Manifest, Row


def make_synthetic(
    source: Path, output: Path, domains: tuple[str, ...], rejected: dict[str, str] | None = None
) -> Path:
    """The output of a transfer: negatives of the source, darker for each further domain.

    rejected  status by key, of images that the transfer gave up
    """
    rejected = rejected or {}
    with Manifest(output / "manifest.jsonl") as manifest:
        for number, domain in enumerate(domains, start=1):
            for path in sorted((source / "images").rglob("*.png")):
                key = path.relative_to(source / "images").with_suffix("").as_posix()
                manifest.append(Row(domain, key, rejected.get(key, "ok"), "hash", seed=0))
                if key in rejected:
                    continue
                target = output / domain / f"{key}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((255 - np.asarray(Image.open(path))) // number).save(target)
    domains_json = {name: {"hash": "hash", "images": 7, "settings": {}, "source": {}} for name in domains}
    (output / "run.json").write_text(json.dumps({"versions": {}, "domains": domains_json}))
    return output
