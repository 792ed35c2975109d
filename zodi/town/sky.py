"""Skies, in linear light: (H, W, 3), meant for the pixels where the sky is seen."""

import numpy as np

from zodi.town.random import Floats, Stream, noise_tile
from zodi.town.surface import Surface


def _above(surface: Surface) -> Floats:
    """Height above the horizon per row, 0 at the horizon .. about 1 at the upper edge, (H, 1)."""
    view, camera = surface.view, surface.street.camera
    rows = (np.arange(view.height) + 0.5 - view.top) / view.scale
    result: Floats = np.clip((camera.horizon - rows) / 60.0, 0.0, 1.0).astype(np.float32)[:, None]
    return result


def _clouds(surface: Surface, stream: Stream) -> Floats:
    """Cloud density 0..1, (H, W): soft noise, drawn out towards the horizon."""
    view, camera = surface.view, surface.street.camera
    above = _above(surface).astype(np.float64)
    columns = ((np.arange(view.width) + 0.5 - view.left) / view.scale - camera.centre) / 256.0
    far = 1.0 / (above + 0.22)
    u = (columns * far * 70.0 + stream.uniform(0, 256)) % 256.0
    v = (far * 30.0 + stream.uniform(0, 256)) % 256.0 + np.zeros_like(u)
    tile = noise_tile(8)
    u0, v0 = u.astype(np.int64), v.astype(np.int64)
    fu, fv = (u - u0).astype(np.float32), (v - v0).astype(np.float32)
    u1, v1 = (u0 + 1) & 255, (v0 + 1) & 255
    u0, v0 = u0 & 255, v0 & 255
    top = tile[v0, u0] * (1 - fu) + tile[v0, u1] * fu
    bottom = tile[v1, u0] * (1 - fu) + tile[v1, u1] * fu
    result: Floats = np.clip((top * (1 - fv) + bottom * fv) * 0.6 + 0.5, 0.0, 1.0)
    return result


def day(surface: Surface, stream: Stream, *, clouds: float, deep: float) -> Floats:
    """Blue, paler towards the horizon, with clouds: `clouds` 0..1 how many, `deep` 0..1 how blue."""
    above = _above(surface)[..., None]
    zenith = np.array([0.20 - 0.09 * deep, 0.40 - 0.12 * deep, 0.78 - 0.06 * deep], dtype=np.float32)
    horizon = np.array([0.66, 0.74, 0.84], dtype=np.float32)
    blue = horizon + (zenith - horizon) * np.sqrt(above)
    density = np.clip((_clouds(surface, stream) - 0.75 + 0.45 * np.float32(clouds)) * 3.0, 0.0, 1.0)[..., None]
    body = np.array([0.86, 0.87, 0.89], dtype=np.float32) * (1.06 - 0.34 * density)
    result: Floats = blue * (1.0 - density * 0.9) + body * (density * 0.9)
    return result


def overcast(surface: Surface, air: Floats) -> Floats:
    """Grey, a little darker overhead."""
    return air * (1.0 - 0.16 * _above(surface)[..., None]) + np.zeros((1, surface.view.width, 1), dtype=np.float32)


def game(surface: Surface, stream: Stream) -> Floats:
    """Flat bands of blue with flat clouds."""
    above = _above(surface)[..., None]
    low, high = np.array([0.45, 0.75, 1.0], dtype=np.float32), np.array([0.08, 0.35, 0.95], dtype=np.float32)
    blue = low + (high - low) * np.clip((above - 0.25) * 2.0, 0.0, 1.0)
    density = np.clip((_clouds(surface, stream) - 0.6) * 14.0, 0.0, 1.0)[..., None]
    result: Floats = blue * (1.0 - density) + np.float32(0.95) * density
    return result


def night(surface: Surface, stream: Stream) -> Floats:
    """Nearly black, with the glow of the town at the horizon."""
    above = _above(surface)[..., None]
    zenith = np.array([0.0007, 0.0009, 0.0020], dtype=np.float32)
    glow = np.array([0.0034, 0.0027, 0.0024], dtype=np.float32) * np.float32(stream.uniform(0.4, 1.2))
    fade = (1.0 - above) * (1.0 - above)
    return zenith + glow * fade + np.zeros((1, surface.view.width, 1), dtype=np.float32)
