"""The polygons of a scene in painter's order, and what they are made of.

World axes in metres: x right of the camera, y up from the road, z ahead of the camera. Streets are laid out straight;
`bend` moves everything sideways by bend * z**2 when the mesh is projected.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import sqrt

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


class Label(IntEnum):
    """Cityscapes train ids."""

    ROAD = 0
    SIDEWALK = 1
    BUILDING = 2
    WALL = 3
    FENCE = 4
    POLE = 5
    LIGHT = 6
    SIGN = 7
    VEGETATION = 8
    TERRAIN = 9
    SKY = 10
    PERSON = 11
    RIDER = 12
    CAR = 13
    TRUCK = 14
    BUS = 15
    TRAIN = 16
    MOTORCYCLE = 17
    BICYCLE = 18


class Pattern(IntEnum):
    """How a surface is textured; the first three of a material's six numbers are given in brackets."""

    PLAIN = 0
    FACADE = 1  # (window pitch, storey height, seed, window width share, window height share, share lit)
    BOARDS = 2  # (pitch, gap share, see-through 0 or 1)
    BRICKS = 3  # (length, height, mortar brightness)
    LEAVES = 4  # (seed, share of holes)
    ASPHALT = 5  # (lane width, seed)
    SLABS = 6  # (pitch across, pitch along)
    GRASS = 7
    RIBS = 8  # (pitch)
    SPOKES = 9  # (radius of the hole as a share), see-through
    WIRE = 10  # (pitch), see-through
    SKY = 11


SEE_THROUGH = (Pattern.BOARDS, Pattern.LEAVES, Pattern.SPOKES, Pattern.WIRE)

# The unit circle, written out so that no machine computes it.
CIRCLE = (
    (1.0, 0.0), (0.866, 0.5), (0.5, 0.866), (0.0, 1.0), (-0.5, 0.866), (-0.866, 0.5),
    (-1.0, 0.0), (-0.866, -0.5), (-0.5, -0.866), (0.0, -1.0), (0.5, -0.866), (0.866, -0.5),
)  # fmt: skip
_SPLITS = (8.0, 12.0, 16.0, 22.0, 30.0, 40.0, 52.0, 66.0, 82.0, 100.0, 125.0, 160.0, 200.0, 250.0)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole at (0, height, 0) that looks along z; pixels are those of an image of 128 rows and 256 columns."""

    focal: float  # pixels
    height: float  # metres above the road
    horizon: float  # row of the horizon
    centre: float  # column of the street's vanishing point
    bend: float  # 1 / metres

    def sees(self, x0: float, x1: float, z0: float, z1: float) -> bool:
        """False where a box that stands on x0..x1, z0..z1 is certainly beside the image."""
        if z0 <= 0.1:
            return True
        ends = (self.bend * z0, self.bend * z1)
        left = min(x0 / z0, x0 / z1) + min(ends)
        right = max(x1 / z0, x1 / z1) + max(ends)
        return self.centre + self.focal * right >= 0.0 and self.centre + self.focal * left <= 256.0


class Mesh:
    """A list of polygons that grows from back to front."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.points: list[float] = []  # x, y, z of all vertices one after another
        self.counts: list[int] = []  # vertices per polygon
        self.materials: list[int] = []  # material per polygon
        self.one_sided: list[bool] = []  # seen only where the vertices run clockwise on the screen
        self.table: dict[tuple[float, ...], int] = {}  # material row -> material

    def material(
        self,
        label: Label,
        colour: Colour,
        pattern: Pattern = Pattern.PLAIN,
        numbers: Sequence[float] = (),
        *,
        grain: float = 0.08,
        glow: Colour = (0.0, 0.0, 0.0),
        snow: float = 0.9,
        cap: float = 0.12,
        round_: float = 0.0,
    ) -> int:
        """A material: colour and glow in 0..1 of display brightness, grain = strength of its noise.

        snow    share of it that snow covers at the top of the polygon
        cap     metres below the polygon's top at which that has faded to nothing; 0 = covered evenly
        round_  0 flat .. 1 a ball: how much its lower part darkens
        """
        padded = (*numbers, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)[:6]
        row = (float(label), *colour, *glow, float(pattern), grain, snow, cap, round_, *padded)
        return self.table.setdefault(row, len(self.table))

    def polygon(self, material: int, points: Iterable[Point], one_sided: bool = False) -> None:
        """One convex polygon."""
        before = len(self.points)
        for point in points:
            self.points += point
        self.counts.append((len(self.points) - before) // 3)
        self.materials.append(material)
        self.one_sided.append(one_sided)

    def ground(self, material: int, x0: float, x1: float, z0: float, z1: float, y: float = 0.0) -> None:
        """A horizontal rectangle; long ones are split so that they follow the bend."""
        cuts = [z0, *(z for z in _SPLITS if z0 < z < z1), z1] if self.camera.bend else [z0, z1]
        for near, far in itertools.pairwise(cuts):
            self.polygon(material, ((x0, y, near), (x1, y, near), (x1, y, far), (x0, y, far)))

    def side(self, material: int, x: float, z0: float, z1: float, y0: float, y1: float, cut: bool = True) -> None:
        """A vertical rectangle along the street, split to follow the bend unless `cut` is false."""
        cuts = [z0, *(z for z in _SPLITS if z0 < z < z1), z1] if cut and self.camera.bend else [z0, z1]
        for near, far in reversed(list(itertools.pairwise(cuts))):
            self.polygon(material, ((x, y0, near), (x, y0, far), (x, y1, far), (x, y1, near)))

    def front(self, material: int, z: float, x0: float, x1: float, y0: float, y1: float) -> None:
        """A vertical rectangle that faces the camera."""
        self.polygon(material, ((x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)))

    def box(
        self, material: int, x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, top: int = -1
    ) -> None:
        """An upright box: the faces that the camera can see; `top` is the material of its upper face."""
        if y1 < self.camera.height:
            self.polygon(material if top < 0 else top, ((x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)))
        middle = self.camera.bend * z0 * z0
        if x0 + middle > 0:
            self.side(material, x0, z0, z1, y0, y1, cut=False)
        elif x1 + middle < 0:
            self.side(material, x1, z0, z1, y0, y1, cut=False)
        self.front(material, z0, x0, x1, y0, y1)

    def bar(self, material: int, x0: float, y0: float, x1: float, y1: float, z: float, width: float) -> None:
        """A straight limb from (x0, y0) to (x1, y1) that faces the camera."""
        dx, dy = x1 - x0, y1 - y0
        length = sqrt(dx * dx + dy * dy) or 1.0
        ax, ay = -dy / length * width / 2, dx / length * width / 2
        self.polygon(
            material,
            ((x0 + ax, y0 + ay, z), (x1 + ax, y1 + ay, z), (x1 - ax, y1 - ay, z), (x0 - ax, y0 - ay, z)),
        )

    def disc(self, material: int, x: float, y: float, z: float, rx: float, ry: float) -> None:
        """An upright ellipse that faces the camera."""
        self.polygon(material, [(x + rx * cx, y + ry * cy, z) for cx, cy in CIRCLE])

    def pixels(self, z: float, count: float) -> float:
        """The width in metres, at distance z, of a number of pixels of a 128x256 image."""
        return count * z / self.camera.focal


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour made darker or lighter, at most 1."""
    return (min(colour[0] * factor, 1.0), min(colour[1] * factor, 1.0), min(colour[2] * factor, 1.0))
