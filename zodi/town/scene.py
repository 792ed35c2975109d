"""A scene under construction: objects wait in bands, and are drawn from the outermost and farthest to the nearest.

Seen from the middle of a street, a sight line only moves outward. So what stands nearer to the middle is never hidden
by what stands farther out at the same depth, and painting band by band, far to near within a band, is right.
"""

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from zodi.town.mesh import CIRCLE, Colour, Mesh, Point
from zodi.town.random import Stream
from zodi.town.street import Street


class Band(IntEnum):
    """From the outside of a street to its middle."""

    BEHIND = 0
    BUILDINGS = 1
    GARDENS = 2
    PROPERTY_LINE = 3
    STREET = 4


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light at night: place in metres, colour in linear light, power, and the radius of its halo in metres."""

    place: Point
    colour: Colour
    power: float
    halo: float
    lights_street: bool  # a street lamp, whose light falls on what is around it


@dataclass
class Scene:
    """What is known of a scene while its objects are placed."""

    stream: Stream
    street: Street
    mesh: Mesh

    def __post_init__(self) -> None:
        self.lamps: list[Lamp] = []
        self.shadows: list[list[Point]] = []  # convex polygons on the ground that the sun does not reach
        self.contacts: list[list[Point]] = []  # convex polygons under and around things that stand on the ground
        # Height of what lines each side, per metre of z.
        self.skyline: tuple[list[float], list[float]] = ([0.0] * 256, [0.0] * 256)
        self._claims: list[tuple[float, float, float, float]] = []
        self._waiting: list[tuple[tuple[int, int, int, float, int], Callable[[], None]]] = []

    def add(self, band: Band, z: float, draw: Callable[[], None], x: float = 0.0) -> None:
        """Have `draw` called in its turn: after what is farther out; in the same lane, after what is farther away.

        A cross street cuts the world in three stretches, each drawn whole: beyond it, in it, before it.
        """
        cross = self.street.crossing
        stretch = 0 if cross is None or z > cross[1] else 2 if z < cross[0] else 1
        lane = 0
        if band is Band.STREET and stretch != 1:
            lane = -bisect(self.street.corridors[self.side_of(x)], abs(x))
        self._waiting.append(((stretch, band, lane, -z, len(self._waiting)), draw))

    def draw(self) -> None:
        """Draw all that waits."""
        for _, draw in sorted(self._waiting, key=lambda item: item[0]):
            draw()
        self._waiting.clear()

    def claim(self, x: float, z: float, half_width: float, half_length: float) -> bool:
        """Take a rectangle of the ground for something that stands there; False where it is already taken."""
        x0, x1, z0, z1 = x - half_width, x + half_width, z - half_length, z + half_length
        for a0, a1, b0, b1 in self._claims:
            if x0 < a1 and a0 < x1 and z0 < b1 and b0 < z1:
                return False
        self._claims.append((x0, x1, z0, z1))
        return True

    def raise_skyline(self, side: int, z0: float, z1: float, height: float) -> None:
        """Note that something of this height lines a side between two depths: its shadow falls on the street."""
        line = self.skyline[side]
        for z in range(max(int(z0), 0), min(int(z1), 256)):
            line[z] = max(line[z], height)

    def in_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether depth z lies in the cross street, or within `margin` metres of it."""
        cross = self.street.crossing
        return cross is not None and cross[0] - margin < z < cross[1] + margin

    def shade_box(self, x0: float, x1: float, z0: float, z1: float, height: float) -> None:
        """The shadow of an upright box on the ground, and the dimness below and around it."""
        sun = self.street.sun
        dx, dz = -sun[0] / sun[1] * height, -sun[2] / sun[1] * height
        y = 0.06
        near, far = max(z0, 1.0), max(z1, 1.2)
        # The outline of the footprint and of the same moved by (dx, dz), from the corner that the sun is behind.
        a, b = (x0, x1) if dx >= 0 else (x1, x0)
        c, d = (near, far) if dz > 0 else (far, near)
        corners = ((a, c), (a, d), (a + dx, d + dz), (b + dx, d + dz), (b + dx, c + dz), (b, c))
        self.shadows.append([(x, y, max(z, 1.0)) for x, z in corners])
        x0, x1, near, far = x0 - 0.15, x1 + 0.15, max(near - 0.2, 1.0), far + 0.2
        self.contacts.append([(x0, y, near), (x1, y, near), (x1, y, far), (x0, y, far)])

    def shade_ball(self, x: float, z: float, height: float, radius: float) -> None:
        """The shadow of a crown, or of anything round, whose middle is `height` above the ground."""
        sun = self.street.sun
        mx, mz = x - sun[0] / sun[1] * height, z - sun[2] / sun[1] * height
        self.shadows.append([(mx + radius * cx, 0.06, max(mz + radius * cz, 1.0)) for cx, cz in CIRCLE])

    def side_of(self, x: float) -> int:
        """The side of the street, 0 left or 1 right, that x lies on."""
        return 0 if x < 0 else 1
