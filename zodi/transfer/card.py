"""The data card: a README.md in the output that says what the images are and how they were made."""

from pathlib import Path
from typing import Any

from zodi.files import utf8, write_atomic
from zodi.transfer.settings import read_run
from zodi.transfer.status import transfer_status

CARD = "README.md"

TEXT = """# Synthetic street images

Made with zodi {zodi} from labelled images by a diffusion model. **These are not photographs.** Labels of the source
images hold for them as far as the layout was kept; the scores below say how far.

| domain | images | rejected | failed | missing | layout agreement | edge agreement |
|---|---|---|---|---|---|---|
{table}

Rejected images (layout agreement below the limit) lie in `quarantine/`. `manifest.jsonl` has a row for each image with
its source's checksum, its seed and its scores; `run.json` has every setting.

## How they were made

{domains}
## Rights

The images inherit obligations from two sides: the terms of the source data set, and the licence of the model (for
Stable Diffusion 1.x the CreativeML OpenRAIL-M licence, whose use restrictions apply to what the model makes). Neither
is replaced by anything in this folder.
"""

DOMAIN = """### {name}

- prompt: "{prompt}"; negative prompt: "{negative_prompt}"
- source: {dataset} at `{root}`, {images} images
- model: `{model}` with ControlNet `{controlnet}`, weights sha256 `{model_hash}`
- strength {strength}, guidance {guidance}, {steps} steps, eta {eta}, time steps "{timesteps}", seed {seed}
- engine {engine} ({precision}, {device}), batch {batch}

"""


def write_card(output: Path) -> None:
    """Write the card of a run from its run.json and manifests."""
    run, status = read_run(output), transfer_status(output)
    names = list(run["domains"])
    text = TEXT.format(
        zodi=run["versions"]["zodi"],
        table="\n".join(_row(name, status["domains"][name]) for name in names),
        domains="".join(_describe(name, run["domains"][name]) for name in names),
    )
    write_atomic(output / CARD, utf8(text))


def _describe(name: str, entry: dict[str, Any]) -> str:
    return DOMAIN.format(name=name, images=entry["images"], **entry["settings"], **entry["source"])


def _row(name: str, counts: dict[str, Any]) -> str:
    made = counts["done"] + counts["quarantined"]
    rejected = f"{counts['quarantined']} ({counts['quarantined'] / made:.1%})" if made else "0"
    scores = [counts["scores"].get(key) for key in ("layout", "edges")]
    shown = " | ".join("not measured" if value is None else f"{value:.2f}" for value in scores)
    return f"| {name} | {counts['done']} | {rejected} | {counts['failed']} | {counts['missing']} | {shown} |"
