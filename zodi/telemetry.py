"""What the packages underneath would send of themselves is switched off before any of them is imported."""

import importlib
import os
import sys
from typing import Any

OPT_OUTS = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: usage, with a device id and a queue below ~/.cache
    "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations: asks for its newest version on import
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def opt_out() -> None:
    """Set the packages' own switches in the environment, where the user has not set them."""
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """Import openvino without openvino_telemetry, for which it has a stub: it has no switch but a file in the home.

    Raises ImportError where openvino is missing.
    """
    before = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails, as if it were missing
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules["openvino_telemetry"]
        if before is not None:
            sys.modules["openvino_telemetry"] = before
