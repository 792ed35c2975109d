"""What vehicles are made of: prisms along their length, with decals on them.

Model axes in metres: x to the vehicle's right, y up, z forward, origin on the ground below the middle. Faces turn
outward, so that those on the far side are dropped by their direction on the screen.
"""

from collections.abc import Sequence

from zodi.town.mesh import CIRCLE, Point

Face = tuple[str, tuple[Point, ...]]  # role (which of the vehicle's materials), vertices
Shape = tuple[Face, ...]
Profile = Sequence[tuple[float, float, float]]  # z, y, half width


def slab(z0: float, z1: float, y0: float, y1: float, half: float) -> Profile:
    return [(z0, y0, half), (z0, y1, half), (z1, y1, half), (z1, y0, half)]


def prism(role: str, profile: Profile, *, top: str = "") -> list[Face]:
    """A convex outline seen from the side, given to both sides at each corner's half width; `top` = role of the lid."""
    middle = (0.0, sum(p[1] for p in profile) / len(profile), sum(p[0] for p in profile) / len(profile))
    highest = max(p[1] for p in profile)
    faces = []
    for (z0, y0, h0), (z1, y1, h1) in zip(profile, [*profile[1:], profile[0]], strict=True):
        lid = top and y0 == y1 == highest
        faces.append(outward(top if lid else role, ((-h0, y0, z0), (h0, y0, z0), (h1, y1, z1), (-h1, y1, z1)), middle))
    for x in (-1.0, 1.0):
        faces.append(outward(role, tuple((x * h, y, z) for z, y, h in profile), middle))
    return faces


def rear_end(half: float, back: float, top: float, low: float) -> list[Face]:
    """Tail lamps, plate and bumper."""
    middle = (0.0, top, back + 2.0)
    size = 0.17 * half + 0.06
    faces = []
    for x in (-1.0, 1.0):
        a, b = x * (half - 0.06), x * (half - 0.06 - size * 1.3)
        lamp = ((a, top - 0.3, back), (b, top - 0.3, back), (b, top - 0.05, back + 0.03), (a, top - 0.05, back + 0.03))
        faces.append(outward("tail", lamp, middle))
    return faces + _bumper(half, back, low, low + 0.02, middle)


def front_end(half: float, z: float, low: float) -> list[Face]:
    """Head lamps, grille, plate and bumper."""
    middle = (0.0, low, z - 2.0)
    size = 0.17 * half + 0.06
    faces = []
    for x in (-1.0, 1.0):
        a, b = x * (half - 0.06), x * (half - 0.06 - size * 1.3)
        lamp = ((a, low + 0.02, z), (b, low + 0.02, z), (b, low + 0.24, z - 0.05), (a, low + 0.24, z - 0.05))
        faces.append(outward("head", lamp, middle))
    grille = ((-half * 0.5, low, z), (half * 0.5, low, z), (half * 0.5, low + 0.16, z), (-half * 0.5, low + 0.16, z))
    faces.append(outward("trim", grille, middle))
    return faces + _bumper(half, z, low, low - 0.12, middle)


def _bumper(half: float, z: float, low: float, plate: float, middle: Point) -> list[Face]:
    bumper = ((-half, low - 0.2, z), (half, low - 0.2, z), (half, low - 0.06, z), (-half, low - 0.06, z))
    number = ((-0.26, plate, z), (0.26, plate, z), (0.26, plate + 0.13, z), (-0.26, plate + 0.13, z))
    return [outward("trim", bumper, middle), outward("plate", number, middle)]


def tyres(half: float, axles: Sequence[float], radius: float = 0.33) -> list[Face]:
    """What is seen of the tyres from the front and the rear: blocks below the body, drawn before it."""
    faces = []
    for x in (-1.0, 1.0):
        for z in axles:
            for end in (-1.0, 1.0):
                at = z + end * radius * 0.7
                a, b = x * half * 0.98, x * half * 0.7
                faces.append(outward("tyre", ((a, 0.0, at), (b, 0.0, at), (b, 0.55, at), (a, 0.55, at)), (0.0, 0.2, z)))
    return faces


def wheels(half: float, radius: float, axles: Sequence[float]) -> list[Face]:
    faces = []
    for x in (-1.0, 1.0):
        for z in axles:
            for role, size in (("arch", 1.16), ("tyre", 1.0), ("hub", 0.55)):
                low = 0.0 if role != "arch" else 0.06
                ring = tuple(
                    (x * (half + 0.01), max(radius + radius * size * cy, low), z + radius * size * cz)
                    for cz, cy in CIRCLE
                )
                faces.append(outward(role, ring, (0.0, radius, z)))
    return faces


def outward(role: str, points: Sequence[Point], middle: Point) -> Face:
    """The face with its vertices in the order that makes it face away from `middle`."""
    (ax, ay, az), (bx, by, bz) = points[0], points[1]
    cx, cy, cz = points[2]
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    outward = nx * (ax - middle[0]) + ny * (ay - middle[1]) + nz * (az - middle[2]) > 0
    return role, tuple(points) if outward else tuple(reversed(points))
