"""Cars and trucks, each shape made once and placed many times."""

from functools import lru_cache

from zodi.town.shapes import Shape, front_end, outward, prism, rear_end, slab, tyres, wheels


@lru_cache(maxsize=64)
def car(style: str) -> Shape:
    """A car: "hatch", "saloon", "estate", "van"."""
    half, length, roof = {
        "hatch": (0.86, 3.9, 1.48),
        "saloon": (0.9, 4.6, 1.44),
        "estate": (0.92, 4.6, 1.62),
        "van": (0.96, 4.9, 1.98),
    }[style]
    z = length / 2
    belt = roof * (0.6 if style != "van" else 0.56)
    rear_foot, rear_top, front_top, front_foot = {
        "hatch": (-z + 0.06, -z + 0.45, 0.35, 1.15), "saloon": (-z + 0.75, -z + 1.35, 0.35, 1.2),
        "estate": (-z + 0.04, -z + 0.3, 0.5, 1.25), "van": (-z + 0.03, -z + 0.12, 1.3, 2.0),
    }[style]  # fmt: skip
    body = [
        (-z, 0.32, half),
        (-z, 0.62, half),
        (-z + 0.08, belt, half * 0.97),
        (z - 0.35, belt * 0.86, half * 0.95),
        (z, 0.62, half),
        (z, 0.3, half),
    ]
    cabin = [
        (rear_foot, belt, half * 0.95),
        (rear_top, roof, half * 0.76),
        (front_top, roof, half * 0.76),
        (front_foot, belt * 0.96, half * 0.93),
    ]
    faces = [*tyres(half, (-z + 0.75, z - 0.75)), *prism("paint", body), *prism("glass", cabin, top="roof")]
    for x in (-1.0, 1.0):
        for zz in (-0.15, rear_top if style != "van" else -1.0):
            low = (x * half * 0.96, belt, zz - 0.06), (x * half * 0.96, belt, zz + 0.1)
            high = (x * half * 0.77, roof, zz + 0.06), (x * half * 0.77, roof, zz - 0.06)
            faces.append(outward("paint", (*low, *high), (0.0, 0.8, 0.0)))
    if style == "van":
        faces.append(
            outward(
                "paint",
                (
                    (half * 0.96, belt, -z + 0.1),
                    (half * 0.96, belt, 0.4),
                    (half * 0.78, roof, 0.4),
                    (half * 0.78, roof, -z + 0.2),
                ),
                (0.0, 0.8, 0.0),
            )
        )
        faces.append(
            outward(
                "paint",
                (
                    (-half * 0.96, belt, -z + 0.1),
                    (-half * 0.96, belt, 0.4),
                    (-half * 0.78, roof, 0.4),
                    (-half * 0.78, roof, -z + 0.2),
                ),
                (0.0, 0.8, 0.0),
            )
        )
    faces += rear_end(half, -z, belt, 0.5)
    faces += front_end(half, z, 0.5)
    faces += wheels(half, 0.32, (-z + 0.75, z - 0.75))
    return tuple(faces)


@lru_cache(maxsize=1)
def lorry_cab() -> Shape:
    """The cab of a truck 8 metres long."""
    half, z = 1.2, 4.0
    faces = tyres(half, (z - 1.1,), 0.48)
    cab = [
        (z - 1.9, 0.55, half),
        (z - 1.9, 2.75, half * 0.96),
        (z - 0.25, 2.75, half * 0.94),
        (z, 1.7, half),
        (z, 0.45, half),
    ]
    faces += prism("cab", cab)
    middle = (0.0, 1.5, z - 1.0)
    screen = (
        (-half * 0.88, 1.78, z - 0.01),
        (half * 0.88, 1.78, z - 0.01),
        (half * 0.84, 2.55, z - 0.19),
        (-half * 0.84, 2.55, z - 0.19),
    )
    faces.append(outward("glass", screen, middle))
    for x in (-half, half):
        faces.append(
            outward("glass", ((x, 1.7, z - 1.3), (x, 1.7, z - 0.2), (x, 2.5, z - 0.4), (x, 2.5, z - 1.3)), middle)
        )
    faces += front_end(half, z, 0.75)
    faces += wheels(half, 0.5, (z - 1.1,))
    return tuple(faces)


@lru_cache(maxsize=4)
def lorry_body(style: str) -> Shape:
    """What the cab pulls: "box", "tipper", "tanker"."""
    half, z = 1.2, 4.0
    axles = (-z + 1.2, -z + 2.2)
    faces = tyres(half, axles, 0.48)
    faces += prism("trim", slab(-z + 0.1, z - 1.9, 0.5, 1.05, half * 0.9))
    if style == "tipper":
        faces += prism(
            "load", [(-z, 1.0, half), (-z + 0.15, 2.3, half), (z - 2.2, 2.3, half), (z - 2.0, 1.0, half)], top="heap"
        )
    elif style == "tanker":
        outline = ((1.0, 0.7), (1.6, 1.0), (2.4, 1.0), (3.0, 0.7))
        rear = [(-z, y, half * share) for y, share in outline]
        faces += prism("load", [*rear, *((z - 2.1, y, half * share) for y, share in reversed(outline))])
    else:
        middle = (0.0, 2.2, -1.0)
        faces += prism("load", slab(-z, z - 2.0, 1.0, 3.4, half))
        faces.append(
            outward("stripe", ((-half, 1.0, -z), (half, 1.0, -z), (half, 1.25, -z), (-half, 1.25, -z)), middle)
        )
        for x in (-half, half):
            panel = ((x, 1.7, -z + 1.0), (x, 1.7, z - 3.0), (x, 2.5, z - 3.0), (x, 2.5, -z + 1.0))
            faces.append(outward("stripe", panel, middle))
        faces.append(outward("trim", ((-0.04, 1.25, -z), (0.04, 1.25, -z), (0.04, 3.3, -z), (-0.04, 3.3, -z)), middle))
    faces += rear_end(half, -z + 0.1, 1.15, 0.75)
    faces += wheels(half, 0.5, axles)
    return tuple(faces)
