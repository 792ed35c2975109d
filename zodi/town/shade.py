"""One function per domain: the buffers of a scene become an image, with the weather's own stream of random numbers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zodi.town import film, night, sky
from zodi.town.mesh import Label
from zodi.town.random import Floats, Stream
from zodi.town.surface import Surface

Image = NDArray[np.uint8]


def shade(surface: Surface, seed: int, domain: str) -> Image:
    """The image (H, W, 3) of a scene in a domain."""
    return SHADERS[domain](surface, Stream(seed, domain))


def _clear(surface: Surface, stream: Stream) -> Image:
    warm = stream.uniform(0.0, 1.0)
    sun = film.colour(1.12, 1.0 - 0.12 * warm, 0.9 - 0.3 * warm) * np.float32(stream.uniform(0.95, 1.5))
    ambient = film.colour(0.86, 0.95, 1.1) * np.float32(stream.uniform(0.40, 0.6))
    light = _daylight(surface, sun, ambient)
    image: Floats = surface.albedo * surface.grain[..., None] * light
    backdrop = sky.day(surface, stream, clouds=stream.uniform(0.15, 0.8), deep=stream.uniform(0.0, 1.0))
    haze = film.colour(0.62, 0.68, 0.76)
    image = film.veil(image, surface.z, haze, stream.uniform(350.0, 900.0))
    image = np.where(surface.sky[..., None], backdrop, image)
    return film.develop(
        image, stream, surface.view, exposure=stream.uniform(0.95, 1.25), noise=stream.uniform(2.2, 3.4)
    )


def _snow(surface: Surface, stream: Stream) -> Image:
    depth = stream.uniform(0.0, 1.0)
    place = surface.x / np.float32(surface.street.lane)
    track = np.abs(np.abs(place - np.floor(place + 0.5)) - 0.25)
    worn = np.where(
        surface.label == Label.ROAD, np.clip(0.35 + 0.45 * depth + track * 3.0, 0.0, 0.95), 0.75 + 0.25 * depth
    )
    cover = (surface.snow * worn)[..., None]
    powder = film.colour(0.78, 0.82, 0.90) * (0.85 + 0.15 * surface.grain)[..., None]
    albedo = surface.albedo * surface.grain[..., None] * (1.0 - cover) + powder * cover
    level = np.float32(stream.uniform(0.55, 0.85))
    shade_ = (0.62 + 0.38 * surface.up) * surface.contact * level
    image = albedo * shade_[..., None] * film.colour(0.92, 0.98, 1.1) + surface.glow * np.float32(0.25)
    grey = np.float32(stream.uniform(0.5, 0.72))
    air = film.colour(0.93, 0.98, 1.06) * grey
    image = film.veil(image, surface.z, air, stream.uniform(60.0, 160.0))
    image = np.where(surface.sky[..., None], sky.overcast(surface, air), image)
    image = film.flakes(image, stream, surface.view, stream.uniform(0.004, 0.018))
    return film.develop(
        image, stream, surface.view, exposure=stream.uniform(0.95, 1.15), noise=stream.uniform(2.0, 3.2)
    )


def _rain(surface: Surface, stream: Stream) -> Image:
    level = np.float32(stream.uniform(0.30, 0.5))
    wet = np.float32(stream.uniform(0.45, 0.7))
    albedo = surface.albedo * surface.grain[..., None] * (1.0 - surface.flat * 0.5)[..., None]
    shade_ = (0.6 + 0.4 * surface.up) * surface.contact * level
    image = albedo * shade_[..., None] * film.colour(0.94, 1.0, 1.06) + surface.glow * np.float32(0.5)
    air = film.colour(0.92, 1.0, 1.08) * np.float32(stream.uniform(0.2, 0.34))
    image = film.veil(image, surface.z, air, stream.uniform(70.0, 170.0))
    image = np.where(surface.sky[..., None], sky.overcast(surface, air), image)
    image = film.halos(image, surface, 0.35)
    image = film.mirror(image, surface, wet)
    image = film.streaks(image, stream, surface.view, stream.uniform(0.002, 0.006), float(level))
    image = film.drops(image, stream, surface.view, stream.integer(4, 16))
    return film.develop(image, stream, surface.view, exposure=stream.uniform(1.0, 1.3), noise=stream.uniform(2.4, 3.6))


def _fog(surface: Surface, stream: Stream) -> Image:
    level = np.float32(stream.uniform(0.5, 0.75))
    shade_ = (0.65 + 0.35 * surface.up) * surface.contact * level
    image = surface.albedo * surface.grain[..., None] * shade_[..., None] + surface.glow * np.float32(0.5)
    image = film.halos(image, surface, 0.25)
    tint = stream.uniform(-0.05, 0.05)
    air = film.colour(0.98 + tint, 0.99, 1.02 - tint) * np.float32(stream.uniform(0.42, 0.68))
    image = film.veil(image, surface.z, air, stream.uniform(11.0, 24.0), floor=0.035)
    image = np.where(surface.sky[..., None], air, image)
    return film.develop(image, stream, surface.view, exposure=stream.uniform(0.95, 1.1), noise=stream.uniform(1.8, 2.6))


def _game(surface: Surface, stream: Stream) -> Image:
    rich = np.float32(stream.uniform(1.5, 2.0))
    grey = surface.albedo.mean(axis=2, keepdims=True)
    albedo = np.clip(grey + (surface.albedo - grey) * rich, 0.0, 1.0) * film.colour(1.05, 1.05, 1.1)
    step = np.clip((surface.sun - 0.18) * 12.0, 0.0, 1.0)
    light = 0.55 + 0.75 * step * surface.contact
    image = albedo * light[..., None] * film.colour(1.05, 1.0, 0.95)
    image = np.where(surface.sky[..., None], sky.game(surface, stream), image)
    image = film.outlines(image, surface, 0.55)
    return film.develop(image, stream, surface.view, exposure=stream.uniform(1.0, 1.2), noise=0.7, soft=0.0)


def _night(surface: Surface, stream: Stream) -> Image:
    return night.shade(surface, stream)


def _daylight(surface: Surface, sun: Floats, ambient: Floats) -> Floats:
    """Sunlight and skylight (H, W, 3)."""
    open_sky = (0.55 + 0.45 * surface.up) * surface.contact
    return sun * surface.sun[..., None] + ambient * open_sky[..., None]


SHADERS: dict[str, Callable[[Surface, Stream], Image]] = {
    "clear": _clear,
    "night": _night,
    "snow": _snow,
    "rain": _rain,
    "fog": _fog,
    "game": _game,
}
