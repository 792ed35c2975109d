"""What lines the two sides of a street, lot by lot: terraces, houses with gardens, works, parks, a railway."""

from zodi.town import boundaries, buildings, plants, vehicles
from zodi.town.ground import draw_track, grass_material
from zodi.town.mesh import Label, Pattern
from zodi.town.scene import Band, Scene
from zodi.town.street import KERB, SIGN

REACH = 115.0  # metres to which the sides are filled in


def place_frontage(scene: Scene) -> None:
    """Fill both sides, the cross street and the far end."""
    _place_backdrop(scene)
    for side in (0, 1):
        z = 2.0
        cross = scene.street.crossing
        if cross:
            _place_side(scene, side, z, cross[0] - 3.0)
            _place_cross_side(scene, side, cross[1] + 3.0)
            z = cross[1] + 3.0
        _place_side(scene, side, z, REACH)


def _place_backdrop(scene: Scene) -> None:
    """A far row of houses, trees or hills that closes the view."""
    stream, mesh = scene.stream, scene.mesh
    x = -230.0
    wooded = stream.uniform(0.1, 0.9)
    while x < 230.0:
        width = stream.uniform(14.0, 45.0)
        if stream.chance(wooded):
            plants.treeline(scene, x, x + width, stream.uniform(150.0, 190.0), stream.uniform(6.0, 17.0))
        else:
            buildings.far_block(scene, x, x + width, stream.uniform(150.0, 190.0), stream.uniform(8.0, 30.0))
        x += width * stream.uniform(0.7, 1.0)
    scene.draw()
    if scene.street.kind in ("suburb", "rail") and stream.chance(0.5):
        hill = mesh.material(
            Label.TERRAIN, stream.tint(scene.street.grass, 0.05), Pattern.GRASS, grain=0.2, snow=0.8, cap=0.0
        )
        middle, half = stream.uniform(-80, 80), stream.uniform(60, 140)
        top = stream.uniform(4.0, 9.0)
        mesh.polygon(
            hill,
            [
                (middle + half * a, top * b, 145.0)
                for a, b in ((-1, 0), (1, 0), (0.6, 0.5), (0.2, 0.92), (-0.1, 1), (-0.5, 0.7))
            ],
        )


def _place_side(scene: Scene, side: int, z0: float, z1: float) -> None:
    stream = scene.stream
    z = z0
    while z < z1 - 4.0:
        style = scene.street.style[side]
        if style == "rail":
            _place_rail(scene, side, z, z1)
            return
        length = min(stream.uniform(8.0, 18.0), z1 - z)
        if z1 - z - length < 5.0:
            length = z1 - z
        place = {"terrace": _terrace, "houses": _house, "works": _works, "park": _park}[style]
        place(scene, side, z, z + length)
        z += length


def _place_cross_side(scene: Scene, side: int, z: float) -> None:
    """The row on the far side of the cross street, which faces the camera."""
    stream = scene.stream
    x = scene.street.front(side) + stream.uniform(14.0, 18.0)
    while x < 130.0:
        width = stream.uniform(9.0, 18.0)
        if stream.chance(0.25):
            plants.tree_group(scene, Band.BUILDINGS, SIGN[side] * (x + width / 2), z + 5.0, 3, 4.0)
        else:
            buildings.terrace_front(scene, side, x, x + width, z)
        x += width


def _terrace(scene: Scene, side: int, z0: float, z1: float) -> None:
    """A town house that stands at the pavement; now and then a gap with a wall or a fence and trees behind."""
    stream = scene.stream
    front = scene.street.front(side)
    if stream.chance(0.14) and z0 > 8.0:
        _property_line(scene, side, front + 0.2, z0, z1)
        for _ in range(2):
            plants.tree(
                scene, Band.GARDENS, SIGN[side] * (front + stream.uniform(3, 7)), stream.uniform(z0 + 1, z1 - 1)
            )
        return
    buildings.terrace(scene, side, front + 0.05, z0, z1)


def _house(scene: Scene, side: int, z0: float, z1: float) -> None:
    """A house behind its front garden."""
    stream, street = scene.stream, scene.street
    front = street.front(side)
    setback = stream.uniform(3.0, 7.0)
    margin = stream.uniform(0.8, 2.5)
    buildings.house(scene, side, front + setback, z0 + margin, z1 - margin)
    if stream.chance(0.75):
        _property_line(scene, side, front + 0.15, z0, z1 - (1.6 if stream.chance(0.5) else 0.0))
    for _ in range(stream.integer(0, 2)):
        x = SIGN[side] * (front + stream.uniform(1.2, setback))
        z = stream.uniform(z0 + 0.5, z1 - 0.5)
        if stream.chance(0.45):
            plants.tree(scene, Band.GARDENS, x, z, size=stream.uniform(0.5, 0.9))
        else:
            plants.bush(scene, Band.GARDENS, x, z)


def _works(scene: Scene, side: int, z0: float, z1: float) -> None:
    """A hall behind a wall or a fence."""
    stream = scene.stream
    front = scene.street.front(side)
    setback = stream.uniform(1.0, 9.0)
    if stream.chance(0.85):
        buildings.hall(scene, side, front + setback, z0, z1)
    if setback > 1.8:
        if stream.chance(0.35):
            vehicles.park_lorry(scene, SIGN[side] * (front + setback * 0.55), z0 + 3.0, z1)
        _property_line(scene, side, front + 0.2, z0, z1, walls=0.55, hedges=0.05)


def _park(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Grass and trees, often behind a railing or a low wall."""
    stream = scene.stream
    front, sign = scene.street.front(side), SIGN[side]
    if z0 < 60.0:
        for _ in range(stream.integer(1, 3)):
            plants.tree(scene, Band.GARDENS, sign * (front + stream.uniform(2.0, 14.0)), stream.uniform(z0, z1))
    if stream.chance(0.4):
        plants.bush(scene, Band.GARDENS, sign * (front + stream.uniform(1.2, 6.0)), stream.uniform(z0, z1))
    plants.tree_group(scene, Band.BEHIND, sign * (front + stream.uniform(22.0, 30.0)), (z0 + z1) / 2, 3, 6.0)
    if scene.stream.chance(0.55):
        _property_line(scene, side, front + 0.2, z0, z1, walls=0.2, hedges=0.15)


def _place_rail(scene: Scene, side: int, z0: float, z1: float) -> None:
    """A railway beside the street: bank, tracks, masts, a train more often than not; a fence or a wall in front."""
    stream, street, mesh = scene.stream, scene.street, scene.mesh
    sign, front = SIGN[side], street.front(side)
    bank = stream.uniform(0.3, 1.0)
    grass = grass_material(scene)
    ballast = mesh.material(Label.TERRAIN, (0.42, 0.38, 0.34), Pattern.GRASS, grain=0.35, snow=0.85, cap=0.0)
    track = sign * (front + stream.uniform(4.0, 5.5))
    walls = 0.3
    height = stream.uniform(3.7, 4.2)

    def draw_bed() -> None:
        low, high = sign * (front + 0.4), sign * (front + 2.2)
        for near, far in ((z0, 20.0), (20.0, 45.0), (45.0, z1)):
            if near < far:
                mesh.polygon(grass, ((low, KERB, near), (low, KERB, far), (high, bank, far), (high, bank, near)))
        x0, x1 = sorted((high, high + sign * 9.0))
        mesh.ground(ballast, x0, x1, z0, z1, bank)
        draw_track(scene, track, Label.TERRAIN, bank + 0.05, z0)
        draw_track(scene, track + sign * 3.8, Label.TERRAIN, bank + 0.05, z0)

    scene.add(Band.BEHIND, z0, draw_bed)
    for z in (10.0, 30.0, 52.0, 80.0):
        if z0 < z < z1:
            plants.tree_group(scene, Band.BEHIND, sign * (front + 20.0), z, 4, 7.0)
    if stream.chance(0.85):
        vehicles.place_train(scene, track, max(stream.uniform(6.0, 24.0), z0 + 0.5), z1, bank, height)
    phase = stream.uniform(6.0, 18.0)
    for i in range(5):
        z = phase + i * 20.0
        if z0 < z < z1:
            boundaries.mast(scene, sign * (front + 2.6), z, bank, sign)
    z = z0
    while z < z1:
        _property_line(scene, side, front + 0.25, z, min(z + 14.0, z1), walls=walls, hedges=0.03)
        z += 14.0


def _property_line(
    scene: Scene, side: int, distance: float, z0: float, z1: float, *, walls: float = 0.3, hedges: float = 0.25
) -> None:
    """A wall, a hedge or one of four fences between two depths."""
    stream = scene.stream
    draw = stream.uniform()
    if draw < walls:
        boundaries.wall(scene, side, distance, z0, z1)
    elif draw < walls + hedges:
        plants.hedge(scene, side, distance, z0, z1)
    else:
        boundaries.fence(scene, side, distance, z0, z1)
