"""What lies between a lit scene and the picture: air, halos, rain and snow in front of the lens, the sensor."""

import numpy as np
from numpy.typing import NDArray

from zodi.town.geometry import View
from zodi.town.mesh import Camera
from zodi.town.random import Floats, Stream
from zodi.town.scene import Lamp
from zodi.town.surface import Surface


def colour(red: float, green: float, blue: float) -> Floats:
    """A colour in linear light as (3,)."""
    return np.array([red, green, blue], dtype=np.float32)


def veil(image: Floats, z: Floats, air: Floats, distance: float, floor: float = 0.0) -> Floats:
    """Mix with the colour of the air: exp(-z / distance) of what is behind remains, never less than `floor`."""
    remains = np.exp(z * np.float32(-1.0 / distance))
    if floor:
        remains = floor + (1.0 - floor) * remains
    result: Floats = air + (image - air) * remains[..., None]
    return result


def pixel_of(lamp: Lamp, camera: Camera, view: View) -> tuple[float, float, float]:
    """Where a lamp is seen: column, row, and pixels per metre there."""
    x, y, z = lamp.place
    per_metre = camera.focal / z
    column = (camera.centre + x * per_metre) * view.scale + view.left
    row = (camera.horizon + (camera.height - y) * per_metre) * view.scale + view.top
    return column, row, per_metre * view.scale


def halos(image: Floats, surface: Surface, strength: float) -> Floats:
    """Add light around each lamp that is seen, in place."""
    view, camera = surface.view, surface.street.camera
    for lamp in surface.lamps:
        x, y, per_metre = pixel_of(lamp, camera, view)
        if not (0 <= x < view.width and 0 <= y < view.height) or lamp.place[2] > 90.0:
            continue
        if surface.z[int(y), int(x)] < lamp.place[2] - 1.5:
            continue  # something stands in front
        radius = max(lamp.halo * per_metre, 2.5 * view.scale)
        reach = int(radius * 3.0) + 1
        left, right = max(int(x) - reach, 0), min(int(x) + reach + 1, view.width)
        top, bottom = max(int(y) - reach, 0), min(int(y) + reach + 1, view.height)
        dx = (np.arange(left, right) + 0.5 - x) / radius
        dy = (np.arange(top, bottom) + 0.5 - y) / radius
        square = (dx * dx + (dy * dy)[:, None]).astype(np.float32)
        light = np.clip(1.0 / (1.0 + 6.0 * square) - 0.018, 0.0, 1.0)
        light = light * light * np.float32(strength * lamp.power)
        image[top:bottom, left:right] += light[..., None] * colour(*lamp.colour)
    return image


def mirror(image: Floats, surface: Surface, share: np.float32) -> Floats:
    """Wet ground: each ground pixel shows what stands above the place where the ground begins in its column."""
    height, width = surface.label.shape
    rows = np.arange(height)[:, None]
    begins = np.maximum.accumulate(np.where(surface.flat > 0, 0, rows + 1), axis=0)
    source = np.clip(2 * begins - 1 - rows, 0, height - 1)
    columns = np.arange(width)[None, :]
    step = max(round(height / 128), 1)
    seen = image[source, columns] * np.float32(0.4)
    for offset, weight in ((-3, 0.15), (-1, 0.15), (2, 0.15), (5, 0.15)):
        seen = seen + image[np.clip(source + offset * step, 0, height - 1), columns] * np.float32(weight)
    slope = np.float32(surface.street.camera.height) / surface.z
    fresnel = np.clip(0.25 + 0.75 * np.exp(slope * np.float32(-9.0)), 0.0, 1.0)
    mix = (surface.flat * share * fresnel)[..., None]
    result: Floats = image * (1.0 - mix * 0.7) + seen * mix
    return result


def flakes(image: Floats, stream: Stream, view: View, density: float) -> Floats:
    """Falling snow: small soft squares, the nearer ones larger."""
    count = int(density * 128 * 256 * (view.width * view.height) / (128 * 256 * view.scale * view.scale))
    places = stream.floats(count, 3)
    columns, rows = (places[:, 0] * view.width).astype(np.int64), (places[:, 1] * view.height).astype(np.int64)
    sizes = ((1.0 + 2.2 * places[:, 2] * places[:, 2] * places[:, 2]) * view.scale + 0.3).astype(np.int64)
    alpha = np.zeros(image.shape[:2], dtype=np.float32)
    largest = int(sizes.max()) if count else 0
    for dy in range(largest):
        for dx in range(largest):
            use = (sizes > dx) & (sizes > dy)
            r, c = np.minimum(rows[use] + dy, view.height - 1), np.minimum(columns[use] + dx, view.width - 1)
            alpha[r, c] = np.float32(0.8)
    return image + (np.float32(0.92) - image) * alpha[..., None]


def streaks(image: Floats, stream: Stream, view: View, density: float, level: float) -> Floats:
    """Rain: thin slanting lines of light."""
    count = int(density * view.width * view.height / (view.scale * view.scale))
    places = stream.floats(count, 3)
    length = (6.0 + 12.0 * places[:, 2]) * view.scale
    slant = np.float64(stream.uniform(-0.25, 0.25))
    steps = np.arange(int(18 * view.scale))
    rows = (places[:, 1, None] * (view.height + 20) - 10 + steps).astype(np.int64)
    columns = (places[:, 0, None] * view.width + slant * steps).astype(np.int64)
    use = (steps < length[:, None]) & (rows >= 0) & (rows < view.height) & (columns >= 0) & (columns < view.width)
    alpha = np.zeros(image.shape[:2], dtype=np.float32)
    alpha[rows[use], columns[use]] = np.float32(0.22)
    return image + (np.float32(0.8 * level + 0.15) - image) * alpha[..., None]


def drops(image: Floats, stream: Stream, view: View, count: int) -> Floats:
    """Drops on the lens: small discs that show the scene upside down and smaller."""
    source = image.copy()
    for _ in range(count):
        radius = int(stream.uniform(2.0, 5.5) * view.scale) + 1
        cx, cy = stream.integer(0, view.width - 1), stream.integer(0, view.height - 1)
        left, right = max(cx - radius, 0), min(cx + radius + 1, view.width)
        top, bottom = max(cy - radius, 0), min(cy + radius + 1, view.height)
        dx = np.arange(left, right) - cx
        dy = (np.arange(top, bottom) - cy)[:, None]
        inside = dx * dx + dy * dy <= radius * radius
        rows = np.clip(cy - dy * 3 + 0 * dx, 0, view.height - 1)
        columns = np.clip(cx - dx * 3 + 0 * dy, 0, view.width - 1)
        part = image[top:bottom, left:right]
        part[inside] = source[rows, columns][inside] * np.float32(0.8) + part[inside] * np.float32(0.2)
    return image


def outlines(image: Floats, surface: Surface, darkness: float) -> Floats:
    """Dark lines where one class meets another."""
    edge = np.zeros(surface.label.shape, dtype=bool)
    edge[:, 1:] |= surface.label[:, 1:] != surface.label[:, :-1]
    edge[1:] |= surface.label[1:] != surface.label[:-1]
    return image * (1.0 - np.float32(darkness) * edge)[..., None]


def develop(
    image: Floats, stream: Stream, view: View, *, exposure: float, noise: float, soft: float = 0.12
) -> NDArray[np.uint8]:
    """Linear light to 8 bits: exposure, a soft shoulder, gamma 2, lens softness, sensor noise.

    noise   standard deviation in grey levels at mid brightness
    soft    share of each pixel's light that falls on each of its two neighbours, along both axes
    """
    level = image * np.float32(exposure)
    level = np.sqrt(level / (1.0 + 0.28 * level * level / (0.35 + level)))
    if soft:
        level = _blur(level, np.float32(soft))
    height, width = level.shape[:2]
    grey = stream.bell(height, width, 1)
    own = stream.bell(height, width, 3)
    grainy = np.float32(noise) * (0.8 * grey + 0.6 * own)
    pixels: NDArray[np.uint8] = np.clip(np.rint(level * 255.0 + grainy), 0, 255).astype(np.uint8)
    return pixels


def _blur(image: Floats, share: np.float32) -> Floats:
    """Each pixel gives `share` to each of its two neighbours, along rows and along columns."""
    keep = np.float32(1.0) - 2 * share
    result = image * keep
    result[:, 1:] += image[:, :-1] * share
    result[:, :-1] += image[:, 1:] * share
    result[:, 0] += image[:, 0] * share
    result[:, -1] += image[:, -1] * share
    final = result * keep
    final[1:] += result[:-1] * share
    final[:-1] += result[1:] * share
    final[0] += result[0] * share
    final[-1] += result[-1] * share
    return final
