"""Buses, trams and trains, each shape made once and placed many times."""

from functools import lru_cache

from zodi.town.shapes import Shape, front_end, outward, prism, rear_end, tyres, wheels


@lru_cache(maxsize=2)
def bus() -> Shape:
    """A city bus of 11 metres."""
    half, z, roof = 1.27, 5.5, 3.05
    body = [
        (-z, 0.35, half),
        (-z, roof - 0.25, half * 0.98),
        (-z + 0.15, roof, half * 0.92),
        (z - 0.15, roof, half * 0.92),
        (z, roof - 0.25, half * 0.98),
        (z, 0.35, half),
    ]
    faces = [*tyres(half, (-z + 2.6, z - 2.6), 0.48), *prism("paint", body, top="roof")]
    for x in (-1.0, 1.0):
        side, middle = x * half, (0.0, 1.5, 0.0)
        faces.append(outward("stripe", ((side, 0.35, -z), (side, 0.35, z), (side, 1.0, z), (side, 1.0, -z)), middle))
        for i in range(7):
            a = -z + 0.35 + i * 1.52
            door = x > 0 and i in (3, 6)
            faces.append(
                outward(
                    "pane",
                    (
                        (side, 0.5 if door else 1.3, a),
                        (side, 0.5 if door else 1.3, a + 1.3),
                        (side, 2.5, a + 1.3),
                        (side, 2.5, a),
                    ),
                    middle,
                )
            )
    for end, low in ((z, 1.15), (-z, 1.6)):
        faces.append(
            outward(
                "glass",
                ((-half * 0.9, low, end), (half * 0.9, low, end), (half * 0.88, 2.4, end), (-half * 0.88, 2.4, end)),
                (0.0, 1.5, 0.0),
            )
        )
        faces.append(
            outward(
                "board",
                ((-half * 0.6, 2.48, end), (half * 0.6, 2.48, end), (half * 0.6, 2.78, end), (-half * 0.6, 2.78, end)),
                (0.0, 1.5, 0.0),
            )
        )
        faces.append(
            outward(
                "stripe", ((-half, 0.35, end), (half, 0.35, end), (half, 0.7, end), (-half, 0.7, end)), (0.0, 1.5, 0.0)
            )
        )
    faces += rear_end(half, -z, 1.1, 0.75)
    faces += front_end(half, z, 0.75)
    faces += wheels(half, 0.48, (-z + 2.6, z - 2.6))
    return tuple(faces)


@lru_cache(maxsize=16)
def tram(sections: int, height: float, railway: bool) -> Shape:
    """A tram or a train of `sections` cars of 12 metres."""
    half = 1.42 if railway else 1.2
    z = sections * 6.0
    nose = 1.1 if railway else 0.6
    low = 0.5 if railway else 0.25
    body = [
        (-z, low, half * 0.95),
        (-z, 1.6, half * 0.95),
        (-z + nose, height - 0.2, half * 0.9),
        (-z + nose + 0.3, height, half * 0.8),
        (z - nose - 0.3, height, half * 0.8),
        (z - nose, height - 0.2, half * 0.9),
        (z, 1.6, half * 0.95),
        (z, low, half * 0.95),
    ]
    faces = prism("paint", body, top="roof")
    middle = (0.0, height / 2, 0.0)
    sill = height * 0.44
    for x in (-1.0, 1.0):
        side = x * half
        faces.append(
            outward(
                "stripe",
                ((side, low, -z + 0.1), (side, low, z - 0.1), (side, low + 0.6, z - 0.1), (side, low + 0.6, -z + 0.1)),
                middle,
            )
        )
        faces.append(
            outward(
                "stripe",
                (
                    (side, height - 0.75, -z + 1.5),
                    (side, height - 0.75, z - 1.5),
                    (side, height - 0.5, z - 1.5),
                    (side, height - 0.5, -z + 1.5),
                ),
                middle,
            )
        )
        for section in range(sections):
            start = -z + section * 12.0
            for i in range(6):
                a = start + 0.6 + i * 1.85
                door = i in (1, 4)
                faces.append(
                    outward(
                        "door" if door else "pane",
                        (
                            (side, low + 0.3 if door else sill, a),
                            (side, low + 0.3 if door else sill, a + 1.45),
                            (side, height - 0.9, a + 1.45),
                            (side, height - 0.9, a),
                        ),
                        middle,
                    )
                )
            if section:
                faces.append(
                    outward(
                        "trim",
                        (
                            (side, low, start - 0.35),
                            (side, low, start + 0.35),
                            (side, height, start + 0.35),
                            (side, height, start - 0.35),
                        ),
                        middle,
                    )
                )
    for end in (-1.0, 1.0):
        at = (end * (z - 0.03), end * (z - nose + 0.05))
        width = half * 0.82
        faces.append(
            outward(
                "glass",
                (
                    (-width, 1.68, at[0]),
                    (width, 1.68, at[0]),
                    (width, height - 0.55, at[1]),
                    (-width, height - 0.55, at[1]),
                ),
                middle,
            )
        )
        faces.append(
            outward(
                "stripe",
                ((-width, low, end * z), (width, low, end * z), (width, 1.0, end * z), (-width, 1.0, end * z)),
                middle,
            )
        )
        faces.append(
            outward(
                "board",
                (
                    (-0.7, height - 0.5, end * (z - nose)),
                    (0.7, height - 0.5, end * (z - nose)),
                    (0.7, height - 0.2, end * (z - nose)),
                    (-0.7, height - 0.2, end * (z - nose)),
                ),
                middle,
            )
        )
        for x in (-1.0, 1.0):
            lamp = (
                (x * 0.95 - 0.14, 1.1, end * z),
                (x * 0.95 + 0.14, 1.1, end * z),
                (x * 0.95 + 0.14, 1.36, end * z),
                (x * 0.95 - 0.14, 1.36, end * z),
            )
            faces.append(outward("head" if end > 0 else "tail", lamp, middle))
    return tuple(faces)
