"""The plan of a scene: camera, lanes, pavements, what lines each side, sun and season. Drawn first, from one stream."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from zodi.town.mesh import Camera, Colour
from zodi.town.random import Stream

LEFT, RIGHT = 0, 1
SIGN = (-1.0, 1.0)  # x direction of the two sides
KERB = 0.13  # metres that pavements and verges lie above the road
PARKING = 2.2  # metres, width of a row of parked cars

# What lines the two sides, by kind of street: terrace, houses, works, park, rail.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "downtown": (("terrace", "terrace", "terrace", "park"), ("terrace", "terrace", "works")),
    "avenue": (("terrace", "park", "rail"), ("terrace", "terrace", "park")),
    "suburb": (("houses", "houses", "park"), ("houses", "houses", "terrace")),
    "works": (("works", "works", "rail"), ("works", "park", "terrace")),
    "rail": (("rail",), ("terrace", "houses", "works")),
}
_GREENS: tuple[Colour, ...] = ((0.24, 0.40, 0.16), (0.30, 0.45, 0.18), (0.20, 0.34, 0.18), (0.34, 0.44, 0.20))
_AUTUMN: tuple[Colour, ...] = ((0.62, 0.42, 0.14), (0.58, 0.30, 0.12), (0.46, 0.44, 0.16), (0.30, 0.38, 0.16))


@dataclass(frozen=True)
class Street:
    """Distances in metres from the camera's own lane; pairs are (left, right)."""

    kind: str
    camera: Camera
    lane: float  # width of a lane
    lanes: tuple[tuple[float, int], ...]  # (x of the middle, +1 our direction or -1 oncoming)
    median: tuple[float, float] | None  # x from, to
    kerb: tuple[float, float]  # camera to kerb
    parking: tuple[bool, bool]
    verge: tuple[float, float]  # width, 0 = none
    walk: tuple[float, float]  # width of the pavement
    style: tuple[str, str]
    crossing: tuple[float, float] | None  # z from, to of a cross street
    zebra: float  # z of a zebra crossing, 0 = none
    tram: float | None  # x of a tram track
    foliage: tuple[Colour, ...]
    grass: Colour
    asphalt: Colour
    paving: Colour
    sun: tuple[float, float, float]  # unit vector towards the sun, y > 0

    @cached_property
    def corridors(self) -> tuple[list[float], list[float]]:
        """Per side, the distances at which lanes, parking and pavement begin, ascending."""
        both: list[list[float]] = []
        for side, sign in enumerate(SIGN):
            edges = [abs(x) + half for x, _ in self.lanes if x * sign > 0 for half in (-self.lane / 2, self.lane / 2)]
            edges += [
                self.kerb[side] - (PARKING if self.parking[side] else 0.3),
                self.kerb[side],
                self.kerb[side] + 1.0,
            ]
            both.append(sorted(edges))
        return both[0], both[1]

    def front(self, side: int) -> float:
        """Distance from the camera to the property line."""
        return self.kerb[side] + self.verge[side] + self.walk[side]


def plan_street(stream: Stream) -> Street:
    """Draw the plan of a scene."""
    kind = stream.choice(("downtown", "downtown", "avenue", "avenue", "suburb", "suburb", "works", "rail"))
    sides = KINDS[kind]
    flip = stream.chance(0.5)
    style = (stream.choice(sides[0]), stream.choice(sides[1]))
    if flip:
        style = (style[1], style[0])

    lane = stream.uniform(3.0, 3.6)
    wide = kind == "avenue"
    to_right = 1 if stream.chance(0.5 if wide else 0.08) else 0
    to_left = 1 if wide and stream.chance(0.45) else 0
    oncoming = 2 if wide and stream.chance(0.6) else 1
    tram_bed = stream.chance(0.5 if wide else 0.0)
    gap = 0.0
    if wide and (tram_bed or stream.chance(0.5)):
        gap = 3.6 if tram_bed else stream.uniform(1.6, 4.0)
    edge = -(to_left * lane + lane / 2)
    lanes = [(i * lane, 1) for i in range(-to_left, to_right + 1)]
    lanes += [(edge - gap - lane / 2 - i * lane, -1) for i in range(oncoming)]
    parking = (stream.chance(0.45), stream.chance(0.45))
    kerb = (
        -edge + gap + oncoming * lane + (PARKING if parking[LEFT] else 0.3),
        (to_right + 0.5) * lane + (PARKING if parking[RIGHT] else 0.3),
    )
    tram = edge - gap / 2 if tram_bed else None
    if tram is None and kind == "downtown" and stream.chance(0.35):
        tram = stream.choice(lanes)[0]

    green = {"downtown": 0.15, "avenue": 0.45, "suburb": 0.75, "works": 0.35, "rail": 0.4}[kind]
    verge = tuple(stream.uniform(0.8, 2.6) if stream.chance(green) else 0.0 for _ in SIGN)
    walk = tuple(stream.uniform(1.6, 4.2 if kind in ("downtown", "avenue") else 2.6) for _ in SIGN)
    crossing = None
    zebra = 0.0
    if stream.chance(0.4):
        start = stream.uniform(15.0, 34.0)
        crossing = (start, start + stream.uniform(7.0, 13.0))
        zebra = start - 3.6 if stream.chance(0.7) else 0.0
    elif stream.chance(0.3):
        zebra = stream.uniform(10.0, 24.0)
    camera = Camera(
        focal=stream.uniform(185.0, 235.0),
        height=stream.uniform(1.35, 2.0),
        horizon=stream.uniform(47.0, 60.0),
        centre=stream.uniform(104.0, 152.0),
        bend=stream.uniform(-0.0022, 0.0022) if stream.chance(0.45) and crossing is None else 0.0,
    )
    autumn = stream.chance(0.2)
    across = stream.uniform(0.35, 0.9) * (1.0 if stream.chance(0.5) else -1.0)
    sun = (across, stream.uniform(0.5, 1.1), stream.uniform(-0.8, 0.35))
    length = sqrt(sun[0] * sun[0] + sun[1] * sun[1] + sun[2] * sun[2])
    grey = stream.uniform(0.27, 0.43)
    return Street(
        kind=kind,
        camera=camera,
        lane=lane,
        lanes=tuple(lanes),
        median=(edge - gap, edge) if gap else None,
        kerb=kerb,
        parking=parking,
        verge=(verge[0], verge[1]),
        walk=(walk[0], walk[1]),
        style=style,
        crossing=crossing,
        zebra=zebra,
        tram=tram,
        foliage=tuple(stream.tint(c, 0.05) for c in (_AUTUMN if autumn else _GREENS)),
        grass=stream.tint((0.46, 0.46, 0.22) if autumn or stream.chance(0.25) else (0.33, 0.48, 0.19), 0.06),
        asphalt=stream.tint((grey, grey, grey + 0.01), 0.01),
        paving=stream.tint((0.60, 0.57, 0.53) if stream.chance(0.7) else (0.62, 0.50, 0.44), 0.07),
        sun=(sun[0] / length, sun[1] / length, sun[2] / length),
    )
