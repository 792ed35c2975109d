"""The settings of a run: what decides the pixels, written to run.json and compared when a run is resumed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from zodi.domains import Domain
from zodi.errors import OutputError, SettingsError
from zodi.files import cannot_read, utf8, write_atomic
from zodi.labels import CONTROL_PALETTES
from zodi.model import ModelInfo
from zodi.transfer.images import ControlResize, PixelRule, working_size
from zodi.transfer.pipeline import Sampling
from zodi.transfer.schedule import Timesteps

RUN_FILE = "run.json"


@dataclass(frozen=True)
class TransferSettings:
    """How images are transferred, for every domain of a run. None: the model's own value.

    image_size      short side in pixels
    batch           images per batch; the engine always runs at this size
    guidance        classifier-free guidance scale
    strength        replaces the strength of every domain
    palette         colours of the control map, see `LabelSet.control_colours`
    control_resize  "nearest", or "area" as the original
    pixels          "reference" truncates the decoded values as the original, "rounded" rounds them
    output_size     "working", or "source": results are resized to the size of their source images
    seed            of the run; every image has its own, derived from it
    min_layout      layout agreement below which a result is drawn again, 0..1; needs a judge
    tries           how often at most an image is drawn; one that is still too low is quarantined
    mask_disagreement  write a mask of the pixels where a confident judge contradicts the label
    """

    image_size: int | None = None
    batch: int = 4
    strength: float | None = None
    guidance: float | None = None
    steps: int = 20
    eta: float = 1.0
    timesteps: Timesteps = "reference"
    control_scale: float = 1.0
    palette: str = "cityscapes"
    control_resize: ControlResize = "nearest"
    pixels: PixelRule = "reference"
    output_size: Literal["working", "source"] = "working"
    seed: int = 0
    min_layout: float | None = None
    tries: int = 1
    mask_disagreement: bool = False

    def __post_init__(self) -> None:
        if self.min_layout is not None and not 0.0 <= self.min_layout <= 1.0:
            raise SettingsError(f"min layout is {self.min_layout:g}, allowed is 0 to 1: 0.5 is usual")
        if self.tries < 1:
            raise SettingsError(f"tries is {self.tries}, allowed is 1 or more")
        if self.batch < 1:
            raise SettingsError(f"batch is {self.batch}, allowed is 1 or more")
        if self.palette not in CONTROL_PALETTES:
            raise SettingsError(f"unknown control palette {self.palette!r}: allowed are {', '.join(CONTROL_PALETTES)}")

    def sampling(self, domain: Domain, info: ModelInfo) -> Sampling:
        """The sampler's settings for a domain, checked against the model."""
        sampling = Sampling(
            strength=domain.strength if self.strength is None else self.strength,
            guidance=info.guidance_for(domain.name) if self.guidance is None else self.guidance,
            steps=self.steps,
            eta=self.eta,
            timesteps=self.timesteps,
            control_scale=self.control_scale,
        )
        sampling.check(info)
        return sampling

    def describe(
        self, domain: Domain, info: ModelInfo, engine: Mapping[str, str], judge: str | None = None
    ) -> dict[str, Any]:
        """Everything that decides the pixels of a domain, flat, as run.json holds it and the hash covers it.

        engine  what runs: name, precision, device
        judge   hash of the judge's weights, where there is one

        Raises SettingsError for values that the model cannot take.
        """
        sampling = self.sampling(domain, info)
        image_size = self.image_size or info.image_size
        working_size(
            image_size, image_size, image_size=image_size, multiple=info.dims.multiple
        )  # raises if it cannot be
        return {
            "model": info.name,
            "controlnet": info.controlnet,
            "model_hash": info.hash,
            **engine,
            "image_size": image_size,
            "batch": self.batch,
            "prompt": domain.full_prompt,
            "negative_prompt": domain.negative_prompt,
            **asdict(sampling),
            "palette": self.palette,
            "control_resize": self.control_resize,
            "pixels": self.pixels,
            "output_size": self.output_size,
            "seed": self.seed,
            "judge": judge,
            "min_layout": self.min_layout,
            "tries": self.tries,
            "mask_disagreement": self.mask_disagreement,
        }


def settings_hash(described: Mapping[str, Any]) -> str:
    """16 hexadecimal digits over what `TransferSettings.describe` returns; names of models do not count, weights do."""
    counted = {key: value for key, value in described.items() if key not in ("model", "controlnet")}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:16]


def read_run(output: Path) -> dict[str, Any]:
    """The run.json of an output, or an empty run; OutputError where it is damaged."""
    path = output / RUN_FILE
    if not path.is_file():
        return {"domains": {}}
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        for name, entry in run["domains"].items():
            if not isinstance(entry["settings"], dict) or not isinstance(entry["source"], dict):
                raise TypeError(f"domain {name!r} is without its settings")
            _ = int(entry["images"]), entry["hash"]
    except OSError as error:
        raise cannot_read(path, error) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: is damaged ({error}): use --restart or another -o") from None
    return run


def write_run(output: Path, run: Mapping[str, Any]) -> None:
    """Write run.json as a whole."""
    write_atomic(output / RUN_FILE, utf8(json.dumps(run, indent=2, ensure_ascii=False) + "\n"))


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first setting that differs, as "name: old -> new"; None where the hashes are equal."""
    if settings_hash(old) == settings_hash(new):
        return None
    keys = [key for key in [*new, *old] if key not in ("model", "controlnet") and old.get(key) != new.get(key)]
    return f"{keys[0]}: {old.get(keys[0])!r} there, {new.get(keys[0])!r} now"
