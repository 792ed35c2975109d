"""A procedural street world: labelled scenes without end, the same geometry in every domain."""

from typing import TYPE_CHECKING

from zodi.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DOMAINS = ("clear", "night", "snow", "rain", "fog", "game")
SMALLEST = (64, 128)  # height, width in pixels


def render(seed: int, domain: str, size: tuple[int, int] = (128, 256)) -> "tuple[NDArray[np.uint8], NDArray[np.uint8]]":
    """Render a scene: image (H, W, 3) uint8 RGB and label (H, W) uint8, Cityscapes train ids 0..18, no void.

    seed     0 <= seed < 2**64; the label depends on seed and size only, the image on the domain too
    domain   one of DOMAINS
    size     (height, width) in pixels; a larger size shows the same scene in more detail

    Raises SettingsError for an unknown domain, a size below 64x128, and a seed out of range.
    """
    check_request(seed, domain, size)
    from zodi.town.shade import shade
    from zodi.town.surface import make_surface

    surface = make_surface(seed, *size)
    return shade(surface, seed, domain), surface.label


def check_request(seed: int, domain: str, size: tuple[int, int]) -> None:
    """Raise SettingsError where `render` would."""
    height, width = size
    if domain not in DOMAINS:
        raise SettingsError(f"unknown domain {domain!r}: allowed are {', '.join(DOMAINS)}")
    if height < SMALLEST[0] or width < SMALLEST[1]:
        raise SettingsError(
            f"size is {height}x{width}, allowed is {SMALLEST[0]}x{SMALLEST[1]} or more: 128x256 is usual"
        )
    if not 0 <= seed < 2**64:
        raise SettingsError(f"seed is {seed}, allowed is 0 <= seed < 2**64: choose another")
