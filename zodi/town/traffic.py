"""What stands and moves in the street itself: traffic by lanes, parked vehicles, people, trees and furniture."""

from zodi.town import furniture, people, plants, vehicles
from zodi.town.scene import Band, Scene
from zodi.town.street import KERB, LEFT, RIGHT, SIGN

_FIRST = {
    "car": 9.0,
    "truck": 19.0,
    "bus": 20.0,
    "rider": 8.0,
}  # nearest distance to the rear of a vehicle ahead, metres
_FIRST_ONCOMING = {"car": 6.5, "truck": 9.0, "bus": 9.0, "rider": 6.0}
_LENGTH = {"car": 4.8, "truck": 8.2, "bus": 11.2, "rider": 2.4}


def place_street(scene: Scene) -> None:
    """Fill carriageway and pavements."""
    _place_trams(scene)
    _place_crossing(scene)
    for side in (LEFT, RIGHT):
        _place_cyclists(scene, side)
    for x, way in scene.street.lanes:
        _place_lane(scene, x, way)
    for side in (LEFT, RIGHT):
        if scene.street.parking[side]:
            _place_parked_row(scene, side)
        _place_furniture(scene, side)
        _place_walkers(scene, side)
        _place_standing(scene, side)
    median = scene.street.median
    if median and scene.street.tram is None:
        z = scene.stream.uniform(8.0, 16.0)
        while z < 80.0:
            if not scene.in_crossing(z, 2.0):
                if scene.stream.chance(0.6):
                    plants.tree(scene, Band.STREET, (median[0] + median[1]) / 2, z, size=scene.stream.uniform(0.5, 0.8))
                else:
                    plants.bush(scene, Band.STREET, (median[0] + median[1]) / 2, z)
            z += scene.stream.uniform(7.0, 14.0)


def _place_trams(scene: Scene) -> None:
    street, stream = scene.street, scene.stream
    if street.tram is not None and stream.chance(0.75):
        away = street.tram == 0.0
        heading = 0 if away else stream.choice((0, 2))
        if street.lanes and any(x == street.tram and way < 0 for x, way in street.lanes):
            heading = 2
        vehicles.place_tram(scene, street.tram, stream.uniform(20.0 if away else 10.0, 34.0), heading)


def _place_lane(scene: Scene, x: float, way: int) -> None:
    """Traffic in one lane, near to far."""
    stream, street = scene.stream, scene.street
    if x == street.tram:
        return
    heading = 0 if way > 0 else 2
    first = _FIRST if way > 0 else _FIRST_ONCOMING
    density = stream.choice((6.0, 14.0, 30.0))
    z = stream.uniform(0.0, density * 1.4)
    while z < 85.0:
        what = stream.choice(("car",) * 8 + ("truck", "truck", "bus", "bus", "rider", "rider"))
        start = max(z, first[what] + (0.0 if abs(x) > 1.0 or way < 0 else stream.uniform(0.0, 5.0)))
        middle = start + _LENGTH[what] / 2
        stop = street.zebra or (street.crossing[0] if street.crossing else 0.0)
        clear_at = street.crossing[1] + 1.0 if street.crossing else stop + 4.0
        blocked = stop and stop - 0.5 < start + _LENGTH[what] and start < clear_at
        if not blocked:
            offset = stream.uniform(-0.2, 0.2)
            if what == "car":
                vehicles.place_car(scene, x + offset, middle, heading)
            elif what == "truck":
                vehicles.place_lorry(scene, x + offset, middle, heading)
            elif what == "bus":
                vehicles.place_bus(scene, x + offset, middle, heading)
            else:
                people.place_rider(scene, "motorcycle", x + offset, middle, heading)
        z = start + _LENGTH[what] + 2.0 + stream.uniform(0.3, 1.7) * density


def _place_parked_row(scene: Scene, side: int) -> None:
    stream, street = scene.stream, scene.street
    x = SIGN[side] * (street.kerb[side] - 1.1)
    heading = 0 if side == RIGHT else 2
    z = stream.uniform(4.0, 12.0)
    full = stream.uniform(0.45, 0.9)
    while z < 80.0:
        draw = stream.uniform()
        clear = not scene.in_crossing(z, 8.0) and not (street.zebra and abs(z - street.zebra) < 7.0)
        if clear and draw < full:
            if stream.chance(0.07) and z > 12.0:
                vehicles.place_lorry(scene, x - SIGN[side] * 0.2, z + 2.0, heading, lit=False)
                z += 4.5
            else:
                vehicles.place_car(scene, x, z, heading, lit=False)
        elif clear and draw < full + 0.12 and z > 6.0:
            people.place_parked(scene, "motorcycle", x + SIGN[side] * 0.5, z, 0.0)
        z += stream.uniform(5.4, 6.6)


def _place_cyclists(scene: Scene, side: int) -> None:
    """Riders at the edge of the carriageway."""
    stream, street = scene.stream, scene.street
    x = SIGN[side] * (street.kerb[side] - (2.9 if street.parking[side] else 0.75))
    for _ in range(stream.integer(0, 2) if stream.chance(0.5) else 0):
        z = stream.uniform(7.0, 32.0)
        if not scene.in_crossing(z, 1.0):
            what = "bicycle" if stream.chance(0.8) else "motorcycle"
            people.place_rider(scene, what, x, z, 0 if side == RIGHT else 2)


def _place_walkers(scene: Scene, side: int) -> None:
    stream, street = scene.stream, scene.street
    busy = {"downtown": 4.0, "avenue": 3.2, "suburb": 1.6, "works": 1.3, "rail": 1.8}[street.kind]
    inner = street.kerb[side] + street.verge[side] + 0.4
    for _ in range(int(stream.uniform(0.4, 1.6) * busy)):
        z = stream.uniform(6.5, 42.0)
        x = SIGN[side] * stream.uniform(inner, street.front(side) - 0.4)
        if scene.in_crossing(z, 0.5):
            continue
        people.place_person(scene, x, z, KERB)
        if stream.chance(0.35):
            people.place_person(scene, x + 0.62 * SIGN[side], z + stream.uniform(-0.2, 0.4), KERB)


def _place_furniture(scene: Scene, side: int) -> None:
    stream, street = scene.stream, scene.street
    x = SIGN[side] * (street.kerb[side] + 0.55)
    toward = -SIGN[side]
    trees = stream.chance(0.65 if street.verge[side] else 0.3) and street.walk[side] + street.verge[side] > 2.2
    lamps = stream.chance(0.75)
    colour = furniture.SODIUM if stream.chance(0.6) else furniture.WHITE_LAMP
    poles = not lamps and stream.chance(0.6)
    gap = stream.uniform(16.0, 26.0)
    z = stream.uniform(7.0, 18.0)
    while z < 85.0:
        if not scene.in_crossing(z, 1.0):
            if lamps:
                furniture.street_lamp(scene, x, z, KERB, toward, colour)
            elif poles:
                furniture.utility_pole(scene, x, z, KERB)
        z += gap
    if trees:
        gap = stream.uniform(6.0, 12.0)
        z = stream.uniform(8.0, 15.0)
        tree_x = SIGN[side] * (street.kerb[side] + max(street.verge[side] / 2, 0.8))
        while z < 75.0:
            if not scene.in_crossing(z, 3.0) and not (street.zebra and abs(z - street.zebra) < 2.5):
                plants.tree(scene, Band.STREET, tree_x, z, size=stream.uniform(0.65, 1.05))
            z += gap
    for _ in range(stream.integer(0, 3)):
        z = stream.uniform(7.0, 40.0)
        if not scene.in_crossing(z, 0.3):
            furniture.traffic_sign(scene, x + SIGN[side] * stream.uniform(-0.1, 0.3), z, KERB)
    if stream.chance(0.15):
        start = stream.uniform(7.0, 18.0)
        end = start + stream.uniform(5.0, 14.0)
        if not (scene.in_crossing(start, 1.0) or scene.in_crossing(end, 1.0)):
            furniture.bollards(scene, x, start, end, KERB)


def _place_standing(scene: Scene, side: int) -> None:
    """Bicycles and motorcycles left on the pavement."""
    stream, street = scene.stream, scene.street
    x = SIGN[side] * (street.front(side) - 0.9)
    if stream.chance(0.38):
        z = stream.uniform(7.0, 26.0)
        if not scene.in_crossing(z, 4.0):
            people.place_bench_of_bicycles(scene, x, z, KERB)
    if stream.chance(0.2):
        z = stream.uniform(7.0, 24.0)
        if not scene.in_crossing(z, 1.0):
            people.place_parked(scene, "motorcycle", SIGN[side] * (street.kerb[side] + 1.3), z, KERB)


def _place_crossing(scene: Scene) -> None:
    """Signals, cross traffic, people on the zebra crossing."""
    stream, street = scene.stream, scene.street
    if street.crossing:
        z0, z1 = street.crossing
        state = stream.choice((0, 0, 1, 2, 2))
        if stream.chance(0.75):
            arm = -min(street.kerb[RIGHT] + 0.3, 5.0) if stream.chance(0.4) else 0.0
            furniture.traffic_light(scene, street.kerb[RIGHT] + 0.6, z0 - 0.6, KERB, state, arm=arm)
            furniture.traffic_light(scene, -street.kerb[LEFT] - 0.6, z0 - 0.6, KERB, state)
            if stream.chance(0.7):
                furniture.traffic_light(scene, street.kerb[RIGHT] + 0.6, z1 + 0.8, KERB, state)
        if state != 2 or stream.chance(0.4):
            _place_cross_traffic(scene, z0, z1)
    elif street.zebra and stream.chance(0.5):
        state = stream.choice((0, 1, 2))
        for side in (LEFT, RIGHT):
            furniture.traffic_light(scene, SIGN[side] * (street.kerb[side] + 0.5), street.zebra - 0.5, KERB, state)
    if street.zebra:
        for _ in range(stream.integer(0, 4)):
            x = stream.uniform(-street.kerb[LEFT] + 0.5, street.kerb[RIGHT] - 0.5)
            people.place_person(scene, x, street.zebra + stream.uniform(0.3, 2.7), 0.0)
    if street.kind == "avenue" and stream.chance(0.4):
        furniture.gantry(scene, stream.uniform(26.0, 45.0))


def _place_cross_traffic(scene: Scene, z0: float, z1: float) -> None:
    stream = scene.stream
    quarter = (z1 - z0) / 4
    for z, heading in ((z0 + quarter, 3), (z1 - quarter, 1)):
        x = stream.uniform(-26.0, -10.0)
        while x < 26.0:
            what = stream.choice(("car", "car", "car", "bicycle", "truck", "bus", "gap", "motorcycle"))
            long = {"car": 4.6, "truck": 8.0, "bus": 11.0}.get(what, 2.0)
            if what == "car":
                vehicles.place_car(scene, x + long / 2, z, heading)
            elif what == "truck":
                vehicles.place_lorry(scene, x + long / 2, z, heading)
            elif what == "bus":
                vehicles.place_bus(scene, x + long / 2, z, heading)
            elif what != "gap":
                people.place_rider(scene, what, x, z, heading)
            x += long + stream.uniform(3.0, 16.0)
