"""zodi: segmentation models for domains without training images (arXiv 2403.13652)."""

__version__ = "0.1.0"
