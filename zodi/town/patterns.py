"""Textures, evaluated at the pixels that show them. u runs along a surface, v up (or ahead on the ground), in metres.

Edges are drawn with the coverage of a pixel, and fade to their average where the pattern is finer than a pixel, so
nothing here jumps at a float threshold: cells are told apart by integers.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zodi.town.mesh import Pattern
from zodi.town.random import Floats, hash_table, noise_tile

if TYPE_CHECKING:
    from zodi.town.surface import Planes

Ints = NDArray[np.int64]


def apply(
    kind: Ints, albedo: Floats, glow: Floats, grain: Floats, u: Floats, v: Floats, pixel: Floats,
    material: Ints, table: Floats, planes: "Planes", seen: Ints, rx: Floats,
) -> None:  # fmt: skip
    """Change albedo, glow (H, W, 3) and grain (H, W) in place where a pattern is seen."""
    flat_kind, flat_u, flat_v = kind.ravel(), u.ravel(), v.ravel()
    flat_pixel, flat_grain = pixel.ravel(), grain.ravel()
    flat_albedo, flat_glow = albedo.reshape(-1, 3), glow.reshape(-1, 3)
    flat_material, flat_seen = material.ravel(), seen.ravel()
    columns = np.broadcast_to(rx, kind.shape).ravel()
    for pattern in (
        Pattern.FACADE,
        Pattern.BOARDS,
        Pattern.BRICKS,
        Pattern.ASPHALT,
        Pattern.SLABS,
        Pattern.RIBS,
        Pattern.LEAVES,
        Pattern.GRASS,
    ):
        at = np.flatnonzero(flat_kind == int(pattern))
        if not len(at):
            continue
        own, fu, fv, fine = flat_seen[at], flat_u[at], flat_v[at], flat_pixel[at]
        numbers = table[:, 12:18][flat_material[at]].T
        # Metres along u that one pixel spans: much on a wall that is seen from its end.
        steep = np.abs(
            planes.ux[own] + (planes.ux[own] * columns[at] + planes.uz[own]) * -planes.a[own] * fine * _FOCAL
        )
        du = np.where(planes.up[own] > 0.7, fine, np.maximum(fine * steep, fine))
        if pattern is Pattern.FACADE:
            _facade(at, flat_albedo, flat_glow, flat_grain, fu, fv, du, fine, numbers)
        elif pattern is Pattern.BRICKS:
            course = np.floor(fv / numbers[1])
            line = np.maximum(
                _stripe(fu + course * numbers[0] * 0.5, numbers[0], 0.12, du), _stripe(fv, numbers[1], 0.2, fine)
            )
            flat_grain[at] *= 1.0 + line * (numbers[2] - 1.0)
            cell = (
                np.floor(fu / numbers[0] + course * 0.5).astype(np.int64) * 7 + course.astype(np.int64) * 131
            ) & 1023
            flat_grain[at] *= 1.0 + (hash_table()[cell] - 0.5) * 0.3 / (1.0 + du * 6.0)
        elif pattern is Pattern.BOARDS:
            flat_grain[at] *= 1.0 - 0.5 * _stripe(fu, numbers[0], numbers[1], du) * (1.0 - numbers[2])
            flat_grain[at] *= 1.0 + (hash_table()[np.floor(fu / numbers[0]).astype(np.int64) * 17 & 1023] - 0.5) * 0.25
        elif pattern is Pattern.RIBS:
            flat_grain[at] *= 1.06 - 0.3 * _stripe(fu, numbers[0], 0.4, du)
        elif pattern is Pattern.SLABS:
            joints = np.maximum(
                _stripe(fu, numbers[0], 0.06, fine), _stripe(fv, numbers[1], 0.06, fine * fine * 8.0 + fine)
            )
            flat_grain[at] *= 1.0 - 0.45 * joints
            cell = (
                np.floor(fu / numbers[0]).astype(np.int64) * 37 + np.floor(fv / numbers[1]).astype(np.int64) * 101
            ) & 1023
            flat_grain[at] *= 1.0 + (hash_table()[cell] - 0.5) * 0.22 / (1.0 + fine * 10.0)
        elif pattern is Pattern.ASPHALT:
            place = fu / numbers[0]
            track = np.abs(place - np.floor(place + 0.5)) - 0.25
            broad = noise_tile(4)[
                (fv * 0.35 + numbers[1]).astype(np.int64) & 255, (fu * 1.1 + 64).astype(np.int64) & 255
            ]
            flat_grain[at] *= 1.0 - 0.12 * np.clip(1.0 - np.abs(track) * 7.0, 0.0, 1.0) + 0.07 * broad
        elif pattern is Pattern.LEAVES:
            tile = noise_tile(2)
            shift = numbers[0].astype(np.int64)
            clump = tile[((fv * 9.0).astype(np.int64) + shift) & 255, ((fu * 9.0).astype(np.int64) + shift * 3) & 255]
            flat_grain[at] *= 1.0 + 0.34 * clump
        else:
            blades = noise_tile(1)[(fv * 11.0).astype(np.int64) & 255, (fu * 14.0).astype(np.int64) & 255]
            flat_grain[at] *= 1.0 + 0.2 * blades / (1.0 + fine * 6.0)


_FOCAL = 205.0  # pixels; `pixel` is z / focal, so this recovers z closely enough for a filter width


def holes(kind: Ints, u: Floats, v: Floats, numbers: Floats, rise: Floats) -> NDArray[np.bool_]:
    """Where one looks through a porous surface, (N,)."""
    result = np.zeros(len(kind), dtype=bool)
    at = np.flatnonzero((kind == int(Pattern.BOARDS)) & (numbers[:, 2] > 0))
    pitch = np.maximum(numbers[at, 0], 0.01)
    part = u[at] / pitch - np.floor(u[at] / pitch)
    result[at] = part < numbers[at, 1]
    at = np.flatnonzero(kind == int(Pattern.WIRE))
    pitch = np.maximum(numbers[at, 0], 0.01)
    one, other = (u[at] + v[at]) / pitch, (u[at] - v[at]) / pitch
    result[at] = (one - np.floor(one) > 0.3) & (other - np.floor(other) > 0.3)
    at = np.flatnonzero(kind == int(Pattern.SPOKES))
    radius = rise[at] * 0.5
    du, dv = np.abs(u[at]) - radius, v[at] - radius
    spoke = np.minimum(np.abs(du), np.abs(dv)) < 0.03 * radius
    result[at] = (du * du + dv * dv < np.square(radius * numbers[at, 0])) & ~spoke
    at = np.flatnonzero(kind == int(Pattern.LEAVES))
    tile = noise_tile(2)
    shift = numbers[at, 0].astype(np.int64)
    clump = tile[((v[at] * 7.0).astype(np.int64) + shift) & 255, ((u[at] * 7.0).astype(np.int64) + shift) & 255]
    share = numbers[at, 1]
    result[at] = (share > 0) & (clump < share * 2.0 - 1.25)
    return result


def _stripe(place: Floats, pitch: Floats, share: Floats | float, width: Floats) -> Floats:
    """Coverage 0..1 of a stripe that takes `share` of every `pitch`, seen through a filter `width` metres wide."""
    part = place / pitch
    part = np.abs(part - np.floor(part) - 0.5)
    edge = np.clip((0.5 * share - part) * pitch / np.maximum(width, 1e-4) + 0.5, 0.0, 1.0)
    blur = np.clip(width / pitch * 2.0 - 0.6, 0.0, 1.0)
    result: Floats = edge * (1.0 - blur) + share * blur
    return result


def _facade(
    at: Ints, albedo: Floats, glow: Floats, grain: Floats, u: Floats, v: Floats, du: Floats, dv: Floats, numbers: Floats
) -> None:
    """Windows in a grid: frames, panes of different darkness, curtains, light behind some of them."""
    pitch, storey, seed, wide, tall, lit = numbers
    has = wide > 0
    pane = np.where(has, _stripe(u, pitch, wide, du) * _stripe(v, storey, tall, dv), 0.0).astype(np.float32)
    frame = (
        np.where(has, _stripe(u, pitch, wide + 0.26 / pitch, du) * _stripe(v, storey, tall + 0.3 / storey, dv), 0.0)
        - pane
    )
    bars = _stripe(u, np.maximum(pitch * wide * 0.5, 0.1), 0.14, du)
    cell = (
        np.floor(u / pitch).astype(np.int64) * 73
        + np.floor(v / storey).astype(np.int64) * 419
        + seed.astype(np.int64) * 31
    ) & 1023
    table = hash_table()
    shade, light, tone = table[cell], table[(cell * 5 + 77) & 1023], table[(cell * 11 + 301) & 1023]
    glass = (0.012 + 0.1 * shade * shade * shade)[:, None] * np.array([0.85, 1.0, 1.2], dtype=np.float32)
    curtain = (shade > 0.8)[:, None] * np.array([0.32, 0.30, 0.26], dtype=np.float32)
    behind = np.where(shade[:, None] > 0.8, curtain, glass)
    own = albedo[at] * grain[at][:, None]
    grain[at] = 1.0
    rim = np.minimum(own * 1.5 + 0.05, 0.75)
    p, f = pane[:, None], np.maximum(frame, 0.0)[:, None]
    b = (0.6 * bars * pane)[:, None]
    albedo[at] = own * (1.0 - p - f) + rim * (f + b) + behind * (p - b)
    warm = np.stack([np.ones_like(tone), 0.58 + 0.3 * tone, 0.22 + 0.55 * tone * tone], axis=1)
    glow[at] = warm * ((light < lit) * (p[:, 0] - b[:, 0]) * (0.22 + 0.6 * tone))[:, None]
