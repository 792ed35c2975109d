"""zodi: segmentation models for domains without training images (arXiv 2403.13652)."""

__version__ = "0.1.0"

from zodi.telemetry import opt_out

opt_out()
