"""What is known of a diffusion model without its weights: constants, sizes and identity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from zodi.ports import ModelDims

SETTINGS_FILE = "zodi.json"  # in a model directory, beside model_index.json, with the settings that suit the model
DEFAULT_GUIDANCE = 9.0  # ZoDi's setting


@dataclass(frozen=True)
class ModelInfo:
    """The constants that the method needs and the identity that results are tied to.

    name              as the user gave it
    controlnet        as the user gave it, or "controlnet" for the one inside the model's directory
    variant, revision as the user gave them
    hash              sha256 over the weights of all parts
    scaling_factor    latents are the VAE's times this; 0.18215 for Stable Diffusion 1.5
    shift_factor      subtracted from the VAE's latents before scaling; 0 for Stable Diffusion
    prediction_type   "epsilon" or "v_prediction"
    scheduler         the keys of the scheduler config that fix the noise schedule
    image_size        short side in pixels that the model was made for
    guidance          the guidance scale it works best with
    domain_guidance   the same for single domains, by their names
    words             the only words that its prompts may hold; None: any
    """

    name: str
    controlnet: str
    hash: str
    dims: ModelDims
    scaling_factor: float
    shift_factor: float
    prediction_type: str
    scheduler: dict[str, Any]
    image_size: int
    guidance: float = DEFAULT_GUIDANCE
    domain_guidance: dict[str, float] = field(default_factory=dict)
    words: tuple[str, ...] | None = None
    variant: str | None = None
    revision: str | None = None

    def guidance_for(self, domain: str) -> float:
        """The guidance scale for a domain, by its name."""
        return self.domain_guidance.get(domain, self.guidance)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "ModelInfo":
        """The inverse of `to_json`."""
        words = table["words"]
        return cls(**{**table, "dims": ModelDims(**table["dims"]), "words": None if words is None else tuple(words)})
