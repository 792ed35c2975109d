"""Buildings: town houses, houses with a pitched roof, works halls."""

from zodi.town.mesh import Colour, Label, Pattern, scaled
from zodi.town.scene import Band, Scene
from zodi.town.street import KERB, SIGN

_PLASTER: tuple[Colour, ...] = (
    (0.80, 0.75, 0.64), (0.76, 0.62, 0.44), (0.66, 0.40, 0.31), (0.58, 0.34, 0.26), (0.72, 0.71, 0.68),
    (0.60, 0.64, 0.66), (0.84, 0.80, 0.72), (0.52, 0.47, 0.43), (0.70, 0.56, 0.50), (0.58, 0.60, 0.52),
)  # fmt: skip
_ROOFS: tuple[Colour, ...] = (
    (0.50, 0.26, 0.19),
    (0.42, 0.22, 0.18),
    (0.34, 0.33, 0.34),
    (0.27, 0.27, 0.30),
    (0.40, 0.30, 0.24),
)
_HALLS: tuple[Colour, ...] = (
    (0.62, 0.65, 0.68),
    (0.50, 0.55, 0.62),
    (0.70, 0.67, 0.60),
    (0.44, 0.50, 0.46),
    (0.60, 0.42, 0.36),
)
_SHOPS: tuple[Colour, ...] = (
    (0.62, 0.16, 0.15),
    (0.14, 0.30, 0.50),
    (0.12, 0.38, 0.26),
    (0.78, 0.62, 0.20),
    (0.25, 0.24, 0.26),
    (0.80, 0.78, 0.74),
)


def _facade(scene: Scene, colour: Colour, width: float, storey: float, *, blank: bool = False) -> int:
    """Plaster or brick with a grid of windows that fits the width."""
    stream = scene.stream
    pitch = width / max(round(width / stream.uniform(1.9, 3.4)), 1)
    share = 0.0 if blank else stream.uniform(0.36, 0.62)
    return scene.mesh.material(
        Label.BUILDING, colour, Pattern.FACADE,
        (pitch, storey, float(stream.integer(0, 1023)), share, stream.uniform(0.42, 0.62), stream.uniform(0.12, 0.45)),
        grain=stream.uniform(0.08, 0.16), snow=0.9, cap=0.3,
    )  # fmt: skip


def terrace(scene: Scene, side: int, distance: float, z0: float, z1: float) -> None:
    """A town house of two to eight storeys, with a shop or doors at the ground."""
    stream, mesh = scene.stream, scene.mesh
    sign = SIGN[side]
    x, depth = sign * distance, sign * 12.0
    storey = stream.uniform(2.9, 3.5)
    tall = scene.street.kind in ("downtown", "avenue")
    storeys = stream.integer(3, 8) if tall and stream.chance(0.75) else stream.integer(2, 4)
    base = 3.4
    top = base + storey * storeys
    colour = stream.tint(stream.choice(_PLASTER), 0.07)
    face = _facade(scene, colour, z1 - z0, storey)
    end = _facade(scene, colour, 12.0, storey, blank=stream.chance(0.45))
    trim = mesh.material(Label.BUILDING, scaled(colour, 1.18), grain=0.06, snow=0.95, cap=0.3)
    shop = stream.chance(0.6 if tall else 0.25)
    plinth = mesh.material(Label.BUILDING, scaled(colour, 0.72), grain=0.12, snow=0.2)
    if shop:
        number = max(round((z1 - z0) / stream.uniform(2.6, 4.0)), 1)
        ground = mesh.material(
            Label.BUILDING, stream.tint((0.40, 0.37, 0.34), 0.1), Pattern.FACADE,
            ((z1 - z0) / number, base, float(stream.integer(0, 1023)), 0.82, 0.66, 0.75), grain=0.06, snow=0.2,
        )  # fmt: skip
    else:
        number = max(round((z1 - z0) / stream.uniform(2.2, 3.4)), 1)
        ground = mesh.material(
            Label.BUILDING, scaled(colour, 0.82), Pattern.FACADE,
            ((z1 - z0) / number, base, float(stream.integer(0, 1023)), 0.4, 0.52, 0.3), grain=0.12, snow=0.2,
        )  # fmt: skip
    sign_board = mesh.material(
        Label.BUILDING,
        stream.tint(stream.choice(_SHOPS), 0.05),
        grain=0.05,
        glow=(0.25, 0.2, 0.12) if stream.chance(0.5) else (0.0, 0.0, 0.0),
    )
    awning = mesh.material(
        Label.BUILDING, stream.tint(stream.choice(_SHOPS), 0.05), Pattern.RIBS, (0.8,), grain=0.04, snow=0.95, cap=0.9
    )
    awnings = shop and stream.chance(0.4)
    door = mesh.material(Label.BUILDING, stream.tint((0.30, 0.20, 0.14), 0.1), grain=0.08)
    door_z = stream.uniform(z0 + 0.8, z1 - 1.8)
    pitched = stream.chance(0.4)
    roof = mesh.material(
        Label.BUILDING, stream.choice(_ROOFS), Pattern.BRICKS, (0.5, 0.35, 0.85), grain=0.12, snow=0.95, cap=0.0
    )
    scene.raise_skyline(side, z0, z1, top)

    def draw() -> None:
        if pitched:
            ridge = x + sign * 5.0
            mesh.polygon(roof, ((x, top, z0), (x, top, z1), (ridge, top + 3.6, z1), (ridge, top + 3.6, z0)))
            mesh.polygon(end, ((x, top, z0), (x + depth, top, z0), (ridge, top + 3.6, z0)))
        mesh.front(end, z0, x, x + depth, 0.0, top)
        mesh.side(face, x, z0, z1, base, top, cut=False)
        mesh.side(ground, x, z0, z1, 0.0, base, cut=False)
        mesh.side(plinth, x, z0, z1, 0.0, 0.45, cut=False)
        mesh.side(trim, x - sign * 0.15, z0, z1, top - 0.45, top + 0.15, cut=False)
        if shop:
            mesh.side(sign_board, x - sign * 0.1, z0 + 0.2, z1 - 0.2, 2.75, 3.35, cut=False)
            if awnings:
                out = x - sign * 1.3
                mesh.polygon(
                    awning, ((out, 2.3, z0 + 0.3), (out, 2.3, z1 - 0.3), (x, 2.95, z1 - 0.3), (x, 2.95, z0 + 0.3))
                )
        else:
            mesh.side(trim, x, z0, z1, base - 0.15, base + 0.1, cut=False)
        mesh.side(door, x - sign * 0.02, door_z, door_z + 1.1, KERB, 2.3, cut=False)

    scene.add(Band.BUILDINGS, (z0 + z1) / 2, draw)


def terrace_front(scene: Scene, side: int, distance0: float, distance1: float, z: float) -> None:
    """A town house on a cross street: its front faces the camera."""
    stream, mesh = scene.stream, scene.mesh
    x0, x1 = sorted((SIGN[side] * distance0, SIGN[side] * distance1))
    storey = stream.uniform(2.9, 3.5)
    top = 3.4 + storey * stream.integer(2, 6)
    colour = stream.tint(stream.choice(_PLASTER), 0.07)
    face = _facade(scene, colour, x1 - x0, storey)
    ground = _facade(scene, scaled(colour, 0.8), x1 - x0, 3.4)
    trim = mesh.material(Label.BUILDING, scaled(colour, 1.18), grain=0.06, snow=0.95, cap=0.3)

    def draw() -> None:
        mesh.front(face, z, x0, x1, 3.4, top)
        mesh.front(ground, z, x0, x1, 0.0, 3.4)
        mesh.front(trim, z, x0, x1, top - 0.4, top + 0.15)

    scene.add(Band.BUILDINGS, z + 1.0, draw)


def house(scene: Scene, side: int, distance: float, z0: float, z1: float) -> None:
    """A house of one to three storeys under a pitched roof, its ridge along or across the street."""
    stream, mesh = scene.stream, scene.mesh
    sign = SIGN[side]
    depth = stream.uniform(7.0, 10.0)
    x, back, middle_x, middle_z = (
        sign * distance,
        sign * (distance + depth),
        sign * (distance + depth / 2),
        (z0 + z1) / 2,
    )
    eaves = stream.uniform(2.7, 2.9) * stream.integer(1, 2) + 0.5
    rise = stream.uniform(2.2, 4.0)
    along = stream.chance(0.55)
    colour = stream.tint(stream.choice(_PLASTER), 0.08)
    face = _facade(scene, colour, z1 - z0, (eaves - 0.3) / round(eaves / 2.9))
    end = _facade(scene, colour, depth, (eaves - 0.3) / round(eaves / 2.9))
    gable = mesh.material(Label.BUILDING, scaled(colour, 0.95), grain=0.12, cap=0.2)
    roof = mesh.material(
        Label.BUILDING,
        stream.tint(stream.choice(_ROOFS), 0.04),
        Pattern.BRICKS,
        (0.5, 0.4, 0.82),
        grain=0.14,
        snow=0.97,
        cap=0.0,
    )
    door = mesh.material(Label.BUILDING, stream.tint((0.35, 0.2, 0.14), 0.12), grain=0.06)
    door_z = stream.uniform(z0 + 1.0, z1 - 2.0)
    chimney = stream.chance(0.6)
    over = sign * 0.4
    scene.raise_skyline(side, z0, z1, eaves + rise * 0.5)

    def draw() -> None:
        if along:
            mesh.polygon(
                roof,
                (
                    (x - over, eaves - 0.2, z0 - 0.3),
                    (x - over, eaves - 0.2, z1 + 0.3),
                    (middle_x, eaves + rise, z1 + 0.3),
                    (middle_x, eaves + rise, z0 - 0.3),
                ),
            )
            mesh.polygon(gable, ((x, eaves, z0), (back, eaves, z0), (middle_x, eaves + rise, z0)))
        else:
            mesh.polygon(
                roof,
                (
                    (x - over, eaves + rise, middle_z),
                    (back, eaves + rise, middle_z),
                    (back, eaves - 0.2, z1),
                    (x - over, eaves - 0.2, z1),
                ),
            )
            mesh.polygon(
                roof,
                (
                    (x - over, eaves + rise, middle_z),
                    (back, eaves + rise, middle_z),
                    (back, eaves - 0.2, z0 - 0.3),
                    (x - over, eaves - 0.2, z0 - 0.3),
                ),
            )
            mesh.polygon(gable, ((x, eaves, z0), (x, eaves, z1), (x, eaves + rise - 0.15, middle_z)))
        if chimney:
            ridge = eaves + rise
            x0, x1, near, far = middle_x - 0.3, middle_x + 0.3, middle_z - 0.3, middle_z + 0.3
            mesh.box(gable, x0, x1, ridge - 0.8, ridge + 0.7, near, far)
        mesh.front(end, z0, x, back, 0.0, eaves)
        mesh.side(face, x, z0, z1, 0.0, eaves, cut=False)
        mesh.side(door, x - sign * 0.02, door_z, door_z + 1.0, 0.0, 2.1, cut=False)

    scene.add(Band.BUILDINGS, middle_z, draw)


def hall(scene: Scene, side: int, distance: float, z0: float, z1: float) -> None:
    """A works hall: ribbed cladding, a band of windows, a gate."""
    stream, mesh = scene.stream, scene.mesh
    sign = SIGN[side]
    x, depth = sign * distance, sign * 18.0
    top = stream.uniform(5.0, 11.0)
    colour = stream.tint(stream.choice(_HALLS), 0.07)
    clad = mesh.material(
        Label.BUILDING, colour, Pattern.RIBS, (stream.uniform(0.5, 1.2),), grain=0.09, snow=0.9, cap=0.3
    )
    strip = mesh.material(Label.BUILDING, scaled(colour, 0.6), grain=0.08, snow=0.9, cap=0.3)
    panes = mesh.material(
        Label.BUILDING,
        scaled(colour, 0.8),
        Pattern.FACADE,
        ((z1 - z0) / max(round((z1 - z0) / 1.8), 1), 1.6, float(stream.integer(0, 1023)), 0.86, 0.8, 0.25),
        snow=0.2,
    )
    gate = mesh.material(Label.BUILDING, stream.tint((0.36, 0.38, 0.42), 0.12), Pattern.RIBS, (0.9,), grain=0.05)
    gate_z = stream.uniform(z0 + 1.0, max(z1 - 5.0, z0 + 1.1))
    scene.raise_skyline(side, z0, z1, top)

    def draw() -> None:
        mesh.front(clad, z0, x, x + depth, 0.0, top)
        mesh.side(clad, x, z0, z1, 0.0, top, cut=False)
        mesh.side(strip, x, z0, z1, top - 0.5, top, cut=False)
        mesh.side(panes, x, z0 + 0.4, z1 - 0.4, top - 2.6, top - 1.0, cut=False)
        mesh.side(gate, x - sign * 0.02, gate_z, gate_z + 3.6, 0.0, 3.6, cut=False)

    scene.add(Band.BUILDINGS, (z0 + z1) / 2, draw)


def far_block(scene: Scene, x0: float, x1: float, z: float, top: float) -> None:
    """A building far away, which closes the view."""
    colour = scene.stream.tint(scene.stream.choice(_PLASTER), 0.08)
    face = _facade(scene, colour, x1 - x0, 3.2)
    scene.add(Band.BEHIND, z, lambda: scene.mesh.front(face, z, x0, x1, 0.0, top))
