"""Vehicles placed in a scene: cars, trucks, buses, trams and trains."""

from collections.abc import Mapping, Sequence
from itertools import chain

from zodi.town import coaches, models
from zodi.town.mesh import Colour, Label, Pattern, Point, scaled
from zodi.town.scene import Band, Lamp, Scene
from zodi.town.shapes import Shape

PAINTS: tuple[Colour, ...] = (
    (0.86, 0.87, 0.88), (0.66, 0.67, 0.69), (0.40, 0.41, 0.43), (0.13, 0.13, 0.15),
    (0.16, 0.25, 0.48), (0.60, 0.11, 0.11), (0.32, 0.42, 0.52), (0.72, 0.66, 0.52),
    (0.14, 0.32, 0.24), (0.78, 0.54, 0.14), (0.50, 0.20, 0.22), (0.28, 0.50, 0.66),
)  # fmt: skip
_LIVERIES: tuple[tuple[Colour, Colour], ...] = (
    ((0.78, 0.14, 0.12), (0.84, 0.82, 0.78)), ((0.86, 0.72, 0.16), (0.30, 0.30, 0.32)),
    ((0.16, 0.34, 0.62), (0.86, 0.86, 0.86)), ((0.88, 0.88, 0.86), (0.16, 0.46, 0.34)),
    ((0.18, 0.48, 0.32), (0.88, 0.84, 0.66)), ((0.84, 0.84, 0.85), (0.74, 0.14, 0.14)),
)  # fmt: skip
GLASS: Colour = (0.15, 0.18, 0.21)
HEAD_LIGHT, TAIL_LIGHT = (1.0, 0.95, 0.82), (0.95, 0.08, 0.05)


def _roles(scene: Scene, label: Label, **own: int) -> dict[str, int]:
    """The materials that vehicles of a label share, and the vehicle's own."""
    mesh = scene.mesh
    return {
        "glass": mesh.material(label, GLASS, grain=0.05, snow=0.35, cap=0.3),
        "tyre": mesh.material(label, (0.09, 0.09, 0.10), grain=0.05, snow=0.0),
        "arch": mesh.material(label, (0.06, 0.06, 0.07), grain=0.02, snow=0.0),
        "hub": mesh.material(label, (0.55, 0.56, 0.58), grain=0.05, snow=0.0),
        "trim": mesh.material(label, (0.15, 0.15, 0.16), grain=0.04, snow=0.1),
        "plate": mesh.material(label, (0.86, 0.84, 0.70), grain=0.02, snow=0.0),
        "head": mesh.material(label, (0.90, 0.90, 0.86), grain=0.0, glow=HEAD_LIGHT, snow=0.0),
        "tail": mesh.material(label, (0.62, 0.06, 0.05), grain=0.0, glow=TAIL_LIGHT, snow=0.0),
        **own,
    }


def _paint(scene: Scene, label: Label, colour: Colour, snow: float = 0.95, cap: float = 0.16) -> int:
    return scene.mesh.material(label, colour, grain=0.05, snow=snow, cap=cap, round_=0.25)


def place(
    scene: Scene,
    shapes: Sequence[Shape],
    roles: Mapping[str, int],
    x: float,
    z: float,
    heading: int,
    *,
    y: float = 0.0,
    half: float = 0.9,
    length: float = 4.4,
    height: float = 1.4,
    lit: bool = True,
    band: Band = Band.STREET,
) -> None:
    """Place a vehicle with its middle at (x, z), unless something stands there.

    heading  0 = away from the camera, 1 = to the left, 2 = towards the camera, 3 = to the right
    shapes   its parts, foremost first
    lit      whether its lamps give light at night (parked cars' do not)
    """
    along = heading % 2 == 0
    dx, dz = (half, length / 2) if along else (length / 2, half)
    if not scene.claim(x, z, dx + 0.15, dz + 0.3):
        return
    mesh, bend = scene.mesh, scene.street.camera.bend

    def draw() -> None:
        for role, points in chain.from_iterable(shapes if heading != 2 else reversed(shapes)):
            mesh.polygon(roles[role], _turned(points, x, y, z, heading), True)

    if mesh.camera.sees(x - dx - 0.1, x + dx + 0.1, z - dz - 0.1, z + dz + 0.1):
        scene.add(band, z, draw, x)
    scene.shade_box(x - dx, x + dx, z - dz, z + dz, height)
    if lit and along:
        near = z - dz
        shift = bend * near * near
        colour = HEAD_LIGHT if heading == 2 else TAIL_LIGHT
        for offset in (-half * 0.75, half * 0.75):
            power, halo = (1.0, 0.75) if heading == 2 else (0.35, 0.4)
            scene.lamps.append(
                Lamp((x + offset + shift, y + (0.65 if heading == 2 else 0.8), near), colour, power, halo, False)
            )


def _turned(points: Sequence[Point], x: float, y: float, z: float, heading: int) -> list[Point]:
    """Points of a model in the scene."""
    if heading == 0:
        return [(x + px, y + py, z + pz) for px, py, pz in points]
    if heading == 1:
        return [(x - pz, y + py, z + px) for px, py, pz in points]
    if heading == 2:
        return [(x - px, y + py, z - pz) for px, py, pz in points]
    return [(x + pz, y + py, z - px) for px, py, pz in points]


def place_car(scene: Scene, x: float, z: float, heading: int, *, lit: bool = True) -> None:
    """A car of any style and colour, its middle at (x, z)."""
    stream = scene.stream
    style = stream.choice(("hatch", "hatch", "saloon", "saloon", "estate", "estate", "van"))
    colour = stream.tint(stream.choice(PAINTS), 0.05)
    roles = _roles(
        scene,
        Label.CAR,
        paint=_paint(scene, Label.CAR, colour),
        roof=_paint(scene, Label.CAR, scaled(colour, 1.05), cap=0.0),
    )
    place(scene, (models.car(style),), roles, x, z, heading, lit=lit, height=1.9 if style == "van" else 1.4)


def place_lorry(scene: Scene, x: float, z: float, heading: int, *, lit: bool = True, band: Band = Band.STREET) -> None:
    """A truck."""
    stream, mesh = scene.stream, scene.mesh
    cab = stream.tint(stream.choice(PAINTS), 0.06)
    load = stream.tint(
        stream.choice(
            ((0.86, 0.86, 0.84), (0.70, 0.72, 0.74), (0.30, 0.40, 0.56), (0.66, 0.52, 0.28), (0.56, 0.18, 0.16))
        ),
        0.06,
    )
    style = stream.choice(("box", "box", "box", "tipper", "tanker"))
    ribs = Pattern.RIBS if stream.chance(0.5) else Pattern.PLAIN
    roles = _roles(
        scene,
        Label.TRUCK,
        cab=_paint(scene, Label.TRUCK, cab),
        load=mesh.material(Label.TRUCK, load, ribs, (0.6,), grain=0.07, snow=0.95, cap=0.25),
        stripe=_paint(scene, Label.TRUCK, stream.choice(PAINTS)),
        heap=mesh.material(Label.TRUCK, (0.44, 0.36, 0.26), grain=0.3),
    )
    place(
        scene,
        (models.lorry_cab(), models.lorry_body(style)),
        roles,
        x,
        z,
        heading,
        half=1.2,
        length=8.0,
        height=3.2,
        lit=lit,
        band=band,
    )


def park_lorry(scene: Scene, x: float, z: float, limit: float) -> None:
    """A truck in the yard of a works, if there is room before `limit`."""
    if z + 9.0 < limit and z > 8.0:
        place_lorry(scene, x, z + 4.5, scene.stream.choice((0, 2)), lit=False, band=Band.GARDENS)


def place_bus(scene: Scene, x: float, z: float, heading: int) -> None:
    """A city bus."""
    stream, mesh = scene.stream, scene.mesh
    paint, stripe = stream.choice(_LIVERIES)
    roles = _roles(
        scene,
        Label.BUS,
        paint=_paint(scene, Label.BUS, stream.tint(paint, 0.04)),
        stripe=_paint(scene, Label.BUS, stripe),
        roof=_paint(scene, Label.BUS, scaled(paint, 0.9), cap=0.0),
        pane=mesh.material(Label.BUS, (0.17, 0.20, 0.23), grain=0.08, glow=(0.62, 0.56, 0.40), snow=0.0),
        board=mesh.material(Label.BUS, (0.10, 0.09, 0.08), grain=0.02, glow=(1.0, 0.62, 0.12), snow=0.0),
    )
    place(scene, (coaches.bus(),), roles, x, z, heading, half=1.27, length=11.0, height=3.0)


def _train_roles(scene: Scene) -> dict[str, int]:
    stream, mesh = scene.stream, scene.mesh
    paint, stripe = stream.choice(_LIVERIES)
    return _roles(
        scene,
        Label.TRAIN,
        paint=_paint(scene, Label.TRAIN, stream.tint(paint, 0.05)),
        stripe=_paint(scene, Label.TRAIN, stripe),
        roof=mesh.material(Label.TRAIN, (0.50, 0.51, 0.52), grain=0.08, snow=0.95, cap=0.0),
        pane=mesh.material(Label.TRAIN, (0.16, 0.19, 0.22), grain=0.08, glow=(0.66, 0.62, 0.46), snow=0.0),
        door=mesh.material(Label.TRAIN, scaled(stripe, 0.75), grain=0.06, glow=(0.2, 0.18, 0.12), snow=0.0),
        board=mesh.material(Label.TRAIN, (0.10, 0.09, 0.08), grain=0.02, glow=(1.0, 0.62, 0.12), snow=0.0),
    )


def place_tram(scene: Scene, x: float, z: float, heading: int) -> None:
    """A tram of two or three sections on the street; z is its end nearest to the camera."""
    sections = scene.stream.integer(2, 3)
    half_length = sections * 6.0
    place(
        scene,
        (coaches.tram(sections, 3.3, False),),
        _train_roles(scene),
        x,
        z + half_length,
        heading,
        half=1.2,
        length=sections * 12.0,
        height=3.2,
    )


def place_train(scene: Scene, x: float, z: float, limit: float, y: float, height: float) -> None:
    """A train on the railway beside the street, from z to `limit` at most."""
    sections = min(int((limit - z) / 12.0), 5)
    if sections < 1:
        return
    shape = coaches.tram(sections, height - 0.1, True)
    place(
        scene,
        (shape,),
        _train_roles(scene),
        x,
        z + sections * 6.0,
        scene.stream.choice((0, 2)),
        y=y,
        half=1.42,
        length=sections * 12.0,
        height=height,
        band=Band.GARDENS,
    )
