"""Night: street lamps, head lights, lit windows, and the noise of a camera that sees little."""

import numpy as np
from numpy.typing import NDArray

from zodi.town import film, sky
from zodi.town.random import Floats, Stream
from zodi.town.surface import Surface

REACH = 60.0  # metres to which street lamps are followed


def shade(surface: Surface, stream: Stream) -> NDArray[np.uint8]:
    """The image (H, W, 3) of a scene at night."""
    dim = stream.uniform(0.5, 1.2)
    ambient = film.colour(0.026, 0.027, 0.034) * np.float32(dim)
    light = ambient * ((0.7 + 0.3 * surface.up) * surface.contact)[..., None]
    light = light + _street_lamps(surface, stream.uniform(0.5, 1.1)) * surface.contact[..., None]
    light = (
        light
        + film.colour(1.0, 0.95, 0.86) * (_own_head_lights(surface) * np.float32(stream.uniform(0.35, 0.8)))[..., None]
    )
    image = surface.albedo * surface.grain[..., None] * light + surface.glow * np.float32(stream.uniform(0.55, 0.9))
    air = film.colour(0.012, 0.010, 0.010)
    image = film.veil(image, surface.z, air, 260.0)
    image = np.where(surface.sky[..., None], sky.night(surface, stream), image)
    image = _lamp_cones(image, surface)
    image = film.halos(image, surface, 0.8)
    gain = stream.uniform(1.3, 2.0)
    return film.develop(image, stream, surface.view, exposure=gain, noise=stream.uniform(3.5, 7.0), soft=0.2)


def _street_lamps(surface: Surface, power: float) -> Floats:
    """Light of the street lamps that falls on each pixel's surface, (H, W, 3)."""
    total = np.zeros((*surface.label.shape, 3), dtype=np.float32)
    bend = surface.street.camera.bend
    for lamp in surface.lamps:
        lx, ly, lz = lamp.place
        if not lamp.lights_street or lz > REACH:
            continue
        dx = surface.x - np.float32(lx - bend * lz * lz)
        dy = surface.y - np.float32(ly)
        dz = surface.z - np.float32(lz)
        square = dx * dx + dy * dy + dz * dz
        down = np.clip(0.6 - dy * 0.15, 0.12, 1.0)
        falls = (np.float32(power * 9.0) * down / (square + 18.0)) * np.clip(
            2.2 - square * np.float32(1 / 260.0), 0.0, 1.0
        )
        total += falls[..., None] * np.array(lamp.colour, dtype=np.float32) * np.float32(0.25)
    return total


def _own_head_lights(surface: Surface) -> Floats:
    """Low beams: bright on the road ahead, little above the height of the bonnet, (H, W)."""
    across = surface.x / (surface.z + 2.0)
    beam = np.clip(1.1 - across * across * 7.0, 0.0, 1.0)
    high = np.clip(1.25 - surface.y * 0.55, 0.1, 1.0)
    result: Floats = beam * high / (1.0 + surface.z * surface.z * np.float32(1 / 150.0))
    return result


def _lamp_cones(image: Floats, surface: Surface) -> Floats:
    """The faint cone of lit air below each lamp that is seen."""
    view, camera = surface.view, surface.street.camera
    columns = np.arange(view.width, dtype=np.float32) + 0.5
    rows = np.arange(view.height, dtype=np.float32) + 0.5
    for lamp in surface.lamps:
        if not lamp.lights_street or lamp.place[2] > 45.0:
            continue
        x, y, per_metre = film.pixel_of(lamp, camera, view)
        depth = rows - np.float32(y)
        reach = np.float32(per_metre * lamp.place[1])
        within = np.clip(depth / reach, 0.0, 1.0)
        fade = np.where(depth > 0, (1.0 - within) * (1.0 - within), 0.0)
        half = np.maximum(depth * 0.55, 0.5) + np.float32(0.3 * per_metre)
        left, right = max(int(x - 0.6 * reach - per_metre), 0), min(int(x + 0.6 * reach + per_metre) + 1, view.width)
        if left >= right:
            continue
        across = np.clip(1.0 - np.abs(columns[None, left:right] - np.float32(x)) / half[:, None], 0.0, 1.0)
        image[:, left:right] += (across * fade[:, None] * np.float32(0.045))[..., None] * np.array(
            lamp.colour, dtype=np.float32
        )
    return image
