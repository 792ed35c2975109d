"""What lies on the ground: carriageway, markings, kerbs, pavements, verges, tracks, the cross street."""

import itertools

from zodi.town.mesh import Colour, Label, Pattern
from zodi.town.scene import Scene
from zodi.town.street import KERB, SIGN

NEAR, FAR, END = 0.7, 250.0, 900.0  # metres
WHITE: Colour = (0.86, 0.86, 0.84)
_STEEL: Colour = (0.55, 0.53, 0.52)


def draw_ground(scene: Scene) -> None:
    """Everything below the horizon that is flat, from the outside of the street to its middle."""
    mesh, street = scene.mesh, scene.street
    grass = grass_material(scene)
    slabs = mesh.material(
        Label.SIDEWALK, street.paving, Pattern.SLABS, (scene.stream.uniform(0.5, 1.2), scene.stream.uniform(0.5, 1.2)),
        grain=0.13, snow=0.92, cap=0.0,
    )  # fmt: skip
    kerb = mesh.material(Label.SIDEWALK, (0.70, 0.69, 0.66), grain=0.1, snow=0.7)
    road = mesh.material(
        Label.ROAD,
        street.asphalt,
        Pattern.ASPHALT,
        (street.lane, scene.stream.uniform(0, 50)),
        grain=0.16,
        snow=0.9,
        cap=0.0,
    )
    for side, sign in enumerate(SIGN):
        outside = slabs if street.style[side] in ("terrace", "works") else grass
        x0, x1 = sorted((0.0, sign * 400.0))
        mesh.polygon(outside, ((x0, 0.0, NEAR), (x1, 0.0, NEAR), (x1, 0.0, END), (x0, 0.0, END)))
    mesh.ground(road, -street.kerb[0], street.kerb[1], NEAR, FAR)
    _draw_patches(scene)
    _draw_markings(scene)
    for side, sign in enumerate(SIGN):
        inner = street.kerb[side]
        walk = inner + street.verge[side]
        _strip(scene, slabs, sign, walk, street.front(side), KERB)
        if street.verge[side]:
            _strip(scene, grass, sign, inner, walk, KERB)
        mesh.side(kerb, sign * inner, NEAR, FAR, 0.0, KERB)
        _strip(scene, kerb, sign, inner, inner + 0.22, KERB)
    if street.median:
        _draw_median(scene, grass, kerb)
    if street.tram is not None:
        draw_track(scene, street.tram, Label.ROAD, 0.01)
    if street.crossing:
        _draw_cross_street(scene, road, slabs, kerb)


def grass_material(scene: Scene) -> int:
    """The grass of this scene."""
    return scene.mesh.material(Label.TERRAIN, scene.street.grass, Pattern.GRASS, grain=0.3, snow=0.97, cap=0.0)


def draw_track(scene: Scene, x: float, label: Label, y: float, near: float = NEAR) -> None:
    """Two rails, one standard gauge apart."""
    rail = scene.mesh.material(label, _STEEL, grain=0.05, snow=0.35, cap=0.0)
    for offset in (-0.72, 0.72):
        scene.mesh.ground(rail, x + offset - 0.06, x + offset + 0.06, near, 120.0, y)


def _strip(scene: Scene, material: int, sign: float, inner: float, outer: float, y: float) -> None:
    x0, x1 = sorted((sign * inner, sign * outer))
    scene.mesh.ground(material, x0, x1, NEAR, FAR, y)


def _draw_patches(scene: Scene) -> None:
    """Repairs, stains and manholes."""
    mesh, street, stream = scene.mesh, scene.street, scene.stream
    left, right = -street.kerb[0], street.kerb[1]
    for _ in range(stream.integer(1, 7)):
        shade = stream.uniform(-0.09, 0.08)
        red, green, blue = street.asphalt
        patch = mesh.material(
            Label.ROAD,
            (red + shade, green + shade, blue + shade),
            Pattern.ASPHALT,
            (street.lane, 7.0),
            grain=0.2,
            snow=0.9,
            cap=0.0,
        )
        x, z = stream.uniform(left, right - 1.0), stream.uniform(4.0, 40.0)
        width, length = stream.uniform(0.5, 2.4), stream.uniform(1.0, 9.0)
        if x + width < right:
            mesh.ground(patch, x, x + width, z, z + length)
    lid = mesh.material(Label.ROAD, (0.27, 0.26, 0.25), grain=0.15, snow=0.5, cap=0.0)
    for _ in range(stream.integer(0, 2)):
        x, z = stream.uniform(left + 1, right - 1), stream.uniform(6.0, 25.0)
        mesh.polygon(
            lid,
            [
                (x + a, 0.0, z + b)
                for a, b in (
                    (-0.35, -0.2),
                    (-0.2, -0.35),
                    (0.2, -0.35),
                    (0.35, -0.2),
                    (0.35, 0.2),
                    (0.2, 0.35),
                    (-0.2, 0.35),
                    (-0.35, 0.2),
                )
            ],
        )


def _draw_markings(scene: Scene) -> None:
    mesh, street, stream = scene.mesh, scene.street, scene.stream
    wear = stream.uniform(0.62, 1.0)
    yellow = stream.chance(0.25)
    white = mesh.material(
        Label.ROAD, (WHITE[0] * wear, WHITE[1] * wear, WHITE[2] * wear), grain=0.2, snow=0.85, cap=0.0
    )
    centre = (
        mesh.material(Label.ROAD, (0.80 * wear, 0.62 * wear, 0.16), grain=0.2, snow=0.85, cap=0.0) if yellow else white
    )
    stop = street.zebra or (street.crossing[0] - 1.0 if street.crossing else 0.0)
    marked = (
        [(NEAR, stop - 1.5), (street.crossing[1] if street.crossing else stop + 3.5, 160.0)]
        if stop
        else [(NEAR, 160.0)]
    )
    dash, gap = stream.choice(((3.0, 4.5), (3.0, 3.0), (4.0, 8.0), (1.5, 1.5)))
    phase = stream.uniform(0.0, dash + gap)
    ordered = sorted(street.lanes)
    half = 0.075
    for (x0, way0), (x1, way1) in itertools.pairwise(ordered):
        border = (x0 + x1) / 2
        if street.median and street.median[0] - 0.5 < border < street.median[1] + 0.5:
            continue
        divides = way0 != way1
        solid = divides and stream.chance(0.35)
        for z0, z1 in marked:
            if solid:
                mesh.ground(centre, border - half, border + half, z0, z1)
                continue
            z = z0 - phase
            while z < min(z1, 75.0):
                if z + dash > z0 and z > -2.0:
                    mesh.ground(
                        centre if divides else white, border - half, border + half, max(z, z0), min(z + dash, z1)
                    )
                z += dash + gap
    for side, sign in enumerate(SIGN):
        edge = street.kerb[side] - (2.2 if street.parking[side] else 0.35)
        if stream.chance(0.6 if street.parking[side] else 0.35):
            for z0, z1 in marked:
                x0, x1 = sorted((sign * edge, sign * (edge + 0.13)))
                mesh.ground(white, x0, x1, z0, z1)
    if stop:
        mesh.ground(white, -street.lane / 2, street.kerb[1] - 0.4, stop - 1.0, stop - 0.6)
    if street.zebra:
        x = -street.kerb[0] + 0.4
        while x + 0.5 < street.kerb[1]:
            mesh.ground(white, x, x + 0.5, street.zebra, street.zebra + 3.0)
            x += 1.0
    if stream.chance(0.3):
        z = stream.uniform(7.0, 18.0)
        if not stop or z + 4 < stop:
            x = street.lanes[0][0] if len(street.lanes) > 2 else 0.0
            mesh.ground(white, x - 0.09, x + 0.09, z, z + 2.6)
            mesh.polygon(white, ((x - 0.45, 0.0, z + 2.4), (x + 0.45, 0.0, z + 2.4), (x, 0.0, z + 4.2)))


def _draw_median(scene: Scene, grass: int, kerb: int) -> None:
    mesh, street = scene.mesh, scene.street
    assert street.median is not None
    x0, x1 = street.median
    if street.tram is not None and x0 < street.tram < x1:
        bed = mesh.material(Label.ROAD, (0.46, 0.42, 0.39), Pattern.ASPHALT, (3.0, 3.0), grain=0.25, snow=0.8, cap=0.0)
        mesh.ground(grass if scene.stream.chance(0.4) else bed, x0, x1, NEAR, FAR, 0.0)
        return
    mesh.ground(grass, x0, x1, NEAR, FAR, KERB)
    mesh.side(kerb, x1, NEAR, FAR, 0.0, KERB)
    mesh.ground(kerb, x1 - 0.2, x1, NEAR, FAR, KERB)
    mesh.ground(kerb, x0, x0 + 0.2, NEAR, FAR, KERB)


def _draw_cross_street(scene: Scene, road: int, slabs: int, kerb: int) -> None:
    mesh, street = scene.mesh, scene.street
    assert street.crossing is not None
    z0, z1 = street.crossing
    mesh.ground(slabs, -300.0, -street.kerb[0], z0 - 2.5, z1 + 2.5, KERB)
    mesh.ground(slabs, street.kerb[1], 300.0, z0 - 2.5, z1 + 2.5, KERB)
    mesh.ground(road, -300.0, 300.0, z0, z1)
    white = mesh.material(Label.ROAD, WHITE, grain=0.2, snow=0.85, cap=0.0)
    middle = (z0 + z1) / 2
    for side, sign in enumerate(SIGN):
        for start in range(8):
            x0, x1 = sorted(
                (sign * (street.kerb[side] + 2 + start * 7.0), sign * (street.kerb[side] + 5 + start * 7.0))
            )
            mesh.ground(white, x0, x1, middle - 0.1, middle + 0.1)
        x0, x1 = sorted((sign * street.kerb[side], sign * 300.0))
        mesh.front(kerb, z1, x0, x1, 0.0, KERB)
    if street.median:
        mesh.ground(road, street.median[0], street.median[1], z0, z1, KERB)
