"""What a training run is made of: sizes of the networks, lengths of the stages, captions. Kept in OUT/settings.json."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from zodi.errors import OutputError
from zodi.files import write_atomic
from zodi.town.parts import SCHEDULE

SETTINGS = "settings.json"
SIZE = (128, 256)  # height, width of a scene in pixels
SCALING_FACTOR = 0.18215  # the exported latents are scaled so that Stable Diffusion's own factor is right
IMAGE_SIZE = 128
GUIDANCE = 4.0  # by eye, of 1.5 to 9: above, nights are darker than rendered ones
DOMAIN_GUIDANCE = {"fog": 6.0, "game": 11.0}  # of 2 to 13: below, both stay too near the clear source; see docs/town.md

# Scene i is rendered in DOMAIN_CYCLE[i % 7] and in no other: no pair is ever seen. Night is the hardest, hence twice.
DOMAIN_CYCLE = ("clear", "night", "snow", "rain", "fog", "game", "night")
TRAIN_SEEDS = 2**40  # first scene seed of training; users, demos and tests stay below
HELD_OUT_SEEDS = 2**41  # first scene seed of evaluation

WORDINGS: dict[str, tuple[str, ...]] = {
    "clear": ("driving on a clear day", "driving in daylight", "a street on a sunny day"),
    "night": ("driving at night", "a street at night", "driving in the dark"),
    "snow": ("driving in snow", "a street in snow", "driving in a snowy winter"),
    "rain": ("driving under rain", "driving in rain", "a street in the rain"),
    "fog": ("driving in fog", "a street in fog", "driving in dense fog"),
    "game": ("driving in a game", "a street in a game", "driving in a video game"),
}
QUALITY = "best quality"
NEGATIVE = "lower quality, worst quality"


@dataclass(frozen=True)
class Settings:
    """Sizes of the networks and lengths of the stages. Changing a size means another OUT; lengths may grow.

    vae_channels    of the autoencoder, one per level; it shrinks by 2 ** (levels - 1)
    hint_channels   of the ControlNet's embedding of the layout, one per level of the autoencoder
    unet_channels   of UNet and ControlNet; attention at the middle level and in the middle block
    *_steps         of the whole stage; the learning rate is constant, and falls over the last 60 %
    encoder_steps   from this step on only the decoder learns: latents, and what was trained on them, stay valid
    *_batch         half-size crops (autoencoder), scenes (diffusion)
    kl              weight of the Kullback-Leibler term, per latent value
    perceptual      weight of the perceptual distance in the autoencoder's loss; may change while a run goes on
    emphasis        domains that are drawn more often from now on; may change while a run goes on
    drop            share of captions that are replaced by the empty or the negative one
    beta_end        last beta of the schedule. Latents of 16x32 keep more of an image under the same noise than those of
                    64x128: with Stable Diffusion's 0.012 the sky of a clear day shone through the fog at strength 0.60
    start           model directory whose weights a new run begins with, instead of random ones; "": random ones
    """

    vae_channels: tuple[int, ...] = (16, 32, 48, 64)
    latent_channels: int = 8
    hint_channels: tuple[int, ...] = (8, 16, 32, 48)
    unet_channels: tuple[int, ...] = (64, 96, 128)
    text_width: int = 64
    heads: int = 4
    groups: int = 8
    encoder_steps: int = 1600
    autoencoder_steps: int = 5000
    autoencoder_batch: int = 8
    autoencoder_rate: float = 5e-3
    kl: float = 1e-3
    diffusion_steps: int = 4000
    diffusion_batch: int = 16
    diffusion_rate: float = 2e-3
    perceptual: float = 0.0
    emphasis: tuple[str, ...] = ()
    drop: float = 0.1
    beta_end: float = 0.024
    start: str = ""
    seed: int = 0

    @property
    def schedule(self) -> dict[str, Any]:
        """Of the noise, as diffusers' scheduler takes it."""
        return {**SCHEDULE, "beta_end": self.beta_end}

    @property
    def words(self) -> tuple[str, ...]:
        """All words of all captions, sorted: what prompts to the model may hold."""
        captions = [NEGATIVE, QUALITY, *(wording for wordings in WORDINGS.values() for wording in wordings)]
        return tuple(sorted({word for caption in captions for word in caption.replace(",", " ").split()}))


CHANGEABLE = ("encoder_steps", "autoencoder_steps", "diffusion_steps", "perceptual", "emphasis")


def open_settings(out: Path, given: dict[str, Any]) -> Settings:
    """The settings of a run: those on disk, with what was given on top; written back.

    Raises OutputError where a setting that is not CHANGEABLE differs from what is on disk.
    """
    path = out / SETTINGS
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, value in given.items():
        plain = list(value) if isinstance(value, tuple) else value
        if name in stored and stored[name] != plain and name not in CHANGEABLE:
            raise OutputError(f"{path}: {name} is {stored[name]!r} there, {plain!r} now: use another --out")
    known = {field.name for field in fields(Settings)}
    merged = {name: tuple(v) if isinstance(v, list) else v for name, v in {**stored, **given}.items() if name in known}
    settings = Settings(**merged)
    write_atomic(path, (json.dumps(asdict(settings), indent=2) + "\n").encode())
    return settings
