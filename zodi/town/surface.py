"""What is seen at each pixel, independent of light and weather: the buffers that every domain shades."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zodi.town import patterns
from zodi.town.geometry import Polygons, View, build_scene, collect, covered, visible
from zodi.town.mesh import SEE_THROUGH, Label, Pattern
from zodi.town.random import Floats, noise_tile
from zodi.town.scene import Lamp
from zodi.town.street import Street

Bytes = NDArray[np.uint8]
SKY_DEPTH = 4000.0  # metres, in place of infinity


@dataclass(slots=True)
class Surface:
    """Buffers (H, W) and (H, W, 3); lengths in metres, colours in linear light 0..1."""

    street: Street
    view: View
    lamps: list[Lamp]
    label: Bytes  # (H, W)
    x: Floats  # to the right
    y: Floats  # above the road
    z: Floats  # ahead
    albedo: Floats  # (H, W, 3) without grain
    grain: Floats  # factor on albedo, about 0.6..1.4
    glow: Floats  # (H, W, 3) light of its own
    sun: Floats  # share of the sun's light that arrives, 0..1, with the angle of incidence
    up: Floats  # 0 upright .. 1 level
    snow: Floats  # share that snow covers, 0..1
    contact: Floats  # 1 in the open .. 0.4 under things
    sky: NDArray[np.bool_]
    flat: Floats  # 1 on the ground, 0 elsewhere


def make_surface(seed: int, height: int, width: int) -> Surface:
    """Build a scene and resolve what is seen of it."""
    scene = build_scene(seed)
    street = scene.street
    camera = street.camera
    view = View.of(height, width)
    polygons = collect(scene)
    front, solid = visible(scene, polygons, view)
    label = polygons.table[:, 0].astype(np.uint8)[polygons.material][front]

    planes = _planes(polygons, camera.height)
    rx = (((np.arange(width) + 0.5 - view.left) / view.scale - camera.centre) / camera.focal).astype(np.float32)
    ry = ((camera.horizon - (np.arange(height) + 0.5 - view.top) / view.scale) / camera.focal).astype(np.float32)
    seen = _look_through(polygons, planes, front, solid, rx, ry, camera.height)

    inverse = planes.a[seen] * rx + planes.b[seen] * ry[:, None] + planes.c[seen]
    z = 1.0 / np.maximum(inverse, np.float32(1.0 / SKY_DEPTH))
    x = rx * z
    y = np.float32(camera.height) + ry[:, None] * z
    material = polygons.material[seen]
    table = polygons.table.astype(np.float32)
    kind = polygons.table[:, 7].astype(np.int64)[material]
    level = planes.up[seen]
    bend = np.float32(camera.bend)
    straight = x - bend * z * z
    is_level = level > 0.7
    u = np.where(is_level, straight, planes.ux[seen] * x + planes.uz[seen] * z + planes.u0[seen])
    low = planes.low[seen]
    v = np.where(is_level, z, y - low)
    pixel = z * np.float32(1.0 / (camera.focal * view.scale))

    albedo = np.square(table[:, 1:4])[material]
    glow = np.square(table[:, 4:7])[material]
    grain = _grain(u, v, pixel, table[:, 8][material], kind)
    patterns.apply(kind, albedo, glow, grain, u, v, pixel, material, table, planes, seen, rx)

    rise = planes.rise[seen]
    share_up = np.clip((y - low) / rise, 0.0, 1.0)
    round_ = table[:, 11][material]
    grain *= 1.0 - round_ * (0.95 - 1.1 * share_up)
    cap = table[:, 10][material]
    below_top = rise - (y - low)
    snow = table[:, 9][material] * np.where(cap > 0, np.clip(1.0 - below_top / np.maximum(cap, 0.01), 0.0, 1.0), 1.0)

    ground = (label == Label.ROAD) | (label == Label.SIDEWALK) | (label == Label.TERRAIN)
    flat = (ground & is_level).astype(np.float32)
    shadow = covered(scene, scene.shadows, view)
    contact = _soften(covered(scene, scene.contacts, view).astype(np.float32)) * flat
    facing = np.maximum(planes.sun(street.sun)[seen], 0.0)
    lit = facing * (1.0 - shadow * flat) * _skyline_light(scene.skyline, street, straight, y, z)
    sky = kind == int(Pattern.SKY)
    return Surface(
        street=street,
        view=view,
        lamps=scene.lamps,
        label=label,
        x=straight,
        y=y,
        z=z,
        albedo=albedo,
        grain=grain,
        glow=glow,
        sun=lit.astype(np.float32),
        up=level,
        snow=snow.astype(np.float32),
        contact=1.0 - 0.55 * contact,
        sky=sky,
        flat=flat,
    )


@dataclass(frozen=True, slots=True)
class Planes:
    """Per polygon: depth as 1 / z = a rx + b ry + c, its normal, and its own axis along the ground."""

    a: Floats
    b: Floats
    c: Floats
    normal: Floats  # (P, 3), unit, towards the camera
    up: Floats  # share of the normal that points up
    ux: Floats
    uz: Floats
    u0: Floats
    low: Floats  # height of the lowest vertex
    rise: Floats  # highest - lowest, at least 0.01

    def sun(self, direction: tuple[float, float, float]) -> Floats:
        """Cosine of the angle between each polygon's normal and the sun."""
        n = self.normal
        result: Floats = (n[:, 0] * direction[0] + n[:, 1] * direction[1] + n[:, 2] * direction[2]).astype(np.float32)
        return result


def _planes(polygons: Polygons, camera_height: float) -> Planes:
    points, first = polygons.points, polygons.first
    p0, p1 = points[first], points[first + 1]
    p2 = points[first + np.minimum(polygons.counts - 1, 2 + (polygons.counts > 6))]
    e, f = p1 - p0, p2 - p0
    nx = e[:, 1] * f[:, 2] - e[:, 2] * f[:, 1]
    ny = e[:, 2] * f[:, 0] - e[:, 0] * f[:, 2]
    nz = e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    length = np.where(length > 0, length, 1.0)
    nx, ny, nz = nx / length, ny / length, nz / length
    distance = nx * p0[:, 0] + ny * (p0[:, 1] - camera_height) + nz * p0[:, 2]
    turn = np.where(distance > 0, -1.0, 1.0)
    nx, ny, nz, distance = nx * turn, ny * turn, nz * turn, np.minimum(distance * turn, -1e-6)
    across = np.sqrt(nx * nx + nz * nz)
    across = np.where(across > 1e-6, across, 1.0)
    ux, uz = -nz / across, nx / across
    low = np.minimum.reduceat(points[:, 1], first)
    rise = np.maximum(np.maximum.reduceat(points[:, 1], first) - low, 0.01)
    single = np.float32
    return Planes(
        a=(nx / distance).astype(single),
        b=(ny / distance).astype(single),
        c=(nz / distance).astype(single),
        normal=np.stack([nx, ny, nz], axis=1),
        up=np.maximum(ny, 0.0).astype(single),
        ux=ux.astype(single),
        uz=uz.astype(single),
        u0=(-(ux * p0[:, 0] + uz * p0[:, 2])).astype(single),
        low=low.astype(single),
        rise=rise.astype(single),
    )


def _look_through(
    polygons: Polygons,
    planes: Planes,
    front: NDArray[np.int64],
    solid: NDArray[np.int64],
    rx: Floats,
    ry: Floats,
    height: float,
) -> NDArray[np.int64]:
    """What is seen where the front polygon has holes: the nearest polygon without any."""
    kind = polygons.table[:, 7].astype(np.int64)[polygons.material]
    porous = np.isin(kind, [int(p) for p in SEE_THROUGH])[front]
    rows, columns = np.nonzero(porous)
    own = front[rows, columns]
    px, py = rx[columns], ry[rows]
    z = 1.0 / np.maximum(planes.a[own] * px + planes.b[own] * py + planes.c[own], np.float32(1e-4))
    u = planes.ux[own] * px * z + planes.uz[own] * z + planes.u0[own]
    v = np.float32(height) + py * z - planes.low[own]
    numbers = polygons.table[:, 12:18].astype(np.float32)[polygons.material[own]]
    hole = patterns.holes(kind[own], u, v, numbers, planes.rise[own])
    seen = front.copy()
    seen[rows[hole], columns[hole]] = solid[rows[hole], columns[hole]]
    return seen


def _grain(u: Floats, v: Floats, pixel: Floats, strength: Floats, kind: NDArray[np.int64]) -> Floats:
    """Fine and coarse noise of the surface, a factor around 1; what is finer than a pixel fades."""
    fine, coarse = noise_tile(1), noise_tile(4)
    speckle = fine[(v * 26.0).astype(np.int64) & 255, (u * 26.0).astype(np.int64) & 255]
    cloud = coarse[(v * 5.0).astype(np.int64) & 255, (u * 5.0).astype(np.int64) & 255]
    broad = coarse[(v * 0.9).astype(np.int64) & 255, (u * 0.9).astype(np.int64) & 255]
    fade = 1.0 / (1.0 + pixel * 12.0)
    return np.where(
        kind == int(Pattern.SKY),
        np.float32(1.0),
        1.0 + strength * (speckle * fade * 0.6 + cloud * 0.55 * np.sqrt(fade) + broad * 0.4),
    )


def _soften(mask: Floats) -> Floats:
    """A 3x3 box average, edges repeated."""
    padded = np.pad(mask, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)


def _skyline_light(skyline: tuple[list[float], list[float]], street: Street, x: Floats, y: Floats, z: Floats) -> Floats:
    """1 where the sun passes above what lines its side of the street, 0 in its shadow, soft in between."""
    sx, sy, sz = street.sun
    side = 1 if sx > 0 else 0
    heights = np.array(skyline[side], dtype=np.float32)
    distance = np.maximum(street.front(side) + 0.3 - x * (1.0 if side else -1.0), 0.0) * np.float32(1.0 / abs(sx))
    place = np.clip(z + distance * np.float32(sz), 0, 255).astype(np.int64)
    clearance = y + distance * np.float32(sy) - heights[place]
    return np.where(distance > 0, np.clip(clearance * 1.5 + 0.5, 0.0, 1.0), 1.0)
