"""What the check is run on."""

from dataclasses import dataclass
from pathlib import Path

from zodi.opening import EngineChoice, ModelChoice


@dataclass(frozen=True)
class Check:
    """The settings of a check.

    output     directory: the results, and what is made on the way
    model      directory in diffusers format
    precision  of the engines and of the compiled and half-precision peers
    size       (height, width) of the images
    batches    images per batch; bundles are made for 1 up to the largest
    steps, strength  as for a transfer
    rounds     how often a denoiser call is timed; the median counts
    """

    output: Path
    model: Path
    device: str = "auto"
    precision: str = "fp16"
    size: tuple[int, int] = (512, 1024)
    batches: tuple[int, ...] = (1, 4, 8)
    steps: int = 20
    strength: float = 0.9
    rounds: int = 10

    @property
    def bundle(self) -> Path:
        """Where the model's files and plans are made."""
        return self.output / "bundle"

    @property
    def model_choice(self) -> ModelChoice:
        """The model, as commands name it."""
        return ModelChoice(str(self.model))

    def engine_choice(self, name: str, precision: str | None = None) -> EngineChoice:
        """An engine on the check's device, with the bundle if it runs from one."""
        bundle = self.bundle if name in ("onnx", "ort", "trt") else None
        return EngineChoice(name, precision or self.precision, self.device, bundle)
