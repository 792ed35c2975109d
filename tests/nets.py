"""A net that trains in seconds, for tests of training, adaptation and what is made of checkpoints."""

from typing import Any

TINY: dict[str, Any] = {  # arguments of `build_net`: 94,017 parameters with 5 classes
    "architecture": "deeplabv3plus",
    "encoder": "tu-test_efficientnet",
    "encoder_weights": "none",
    "options": {"decoder_channels": 16},
}
