"""Trees, bushes, hedges."""

from zodi.town.mesh import CIRCLE, Colour, Label, Pattern
from zodi.town.scene import Band, Scene
from zodi.town.street import SIGN

_BARK: Colour = (0.33, 0.26, 0.20)


def leaves(scene: Scene, level: float, holes: float = 0.0) -> int:
    """Foliage of this scene, lighter or darker by `level`."""
    stream = scene.stream
    red, green, blue = stream.tint(stream.choice(scene.street.foliage), 0.03)
    return scene.mesh.material(
        Label.VEGETATION,
        (max(red + level, 0.03), max(green + level, 0.05), max(blue + level * 0.6, 0.03)),
        Pattern.LEAVES,
        (float(stream.integer(0, 255)), holes),
        grain=0.34,
        snow=0.75,
        cap=1.3,
        round_=0.5,
    )


def blob(scene: Scene, material: int, x: float, y: float, z: float, rx: float, ry: float) -> None:
    """A ragged ellipse of leaves."""
    stream = scene.stream
    points = []
    for cx, cy in CIRCLE:
        ragged = stream.uniform(0.84, 1.12)
        points.append((x + rx * cx * ragged, y + ry * cy * ragged, z))
    scene.mesh.polygon(material, points)


def tree(scene: Scene, band: Band, x: float, z: float, *, size: float = 0.0) -> None:
    """A deciduous tree, a fir or a slim poplar; `size` 1 is a grown street tree of about 7 metres."""
    stream, mesh = scene.stream, scene.mesh
    size = size or stream.uniform(0.75, 1.35)
    kind = stream.choice(("round", "round", "round", "fir", "slim"))
    height = size * stream.uniform(6.0, 8.0)
    stem = height * (0.3 if kind != "fir" else 0.1)
    bark = mesh.material(Label.VEGETATION, stream.tint(_BARK, 0.04), grain=0.2, snow=0.3)
    dark, middle, light = leaves(scene, -0.07, 0.13), leaves(scene, 0.0), leaves(scene, 0.06)
    radius = height * {"round": 0.33, "fir": 0.24, "slim": 0.15}[kind]
    trunk = max(0.28 * size, mesh.pixels(z, 2.0))
    if (abs(x) - radius < 1.5 and z < 14.0) or not scene.claim(x, z, 0.4, 0.4):
        return

    def draw() -> None:
        mesh.polygon(
            bark,
            (
                (x - trunk / 2, 0.0, z),
                (x + trunk / 2, 0.0, z),
                (x + trunk * 0.35, stem * 1.4, z),
                (x - trunk * 0.35, stem * 1.4, z),
            ),
        )
        if kind == "fir":
            for i, material in enumerate((dark, dark, middle, light)):
                low = stem + (height - stem) * i * 0.22
                wide = radius * (1.0 - i * 0.2)
                mesh.polygon(
                    material,
                    (
                        (x - wide, low, z),
                        (x + wide, low, z),
                        (x + wide * 0.1, min(low + height * 0.42, height), z),
                        (x - wide * 0.1, min(low + height * 0.42, height), z),
                    ),
                )
            return
        crown = (height - stem) / 2
        middle_y = stem + crown
        blob(scene, dark, x, middle_y, z, radius, crown)
        for material, up, share in (
            (middle, -0.1, 0.62),
            (middle, 0.25, 0.58),
            (light, 0.42, 0.42),
            (middle, -0.3, 0.4),
            (light, 0.1, 0.36),
        ):
            dx = stream.uniform(-0.55, 0.55) * radius
            blob(scene, material, x + dx, middle_y + up * crown, z, radius * share, crown * share)

    scene.add(band, z, draw, x)
    scene.shade_ball(x, z, stem + (height - stem) / 2, radius * 0.9)
    scene.contacts.append([(x + 0.5 * cx, 0.1, z + 0.5 * cz) for cx, cz in CIRCLE])


def tree_group(scene: Scene, band: Band, x: float, z: float, count: int, spread: float) -> None:
    """Trees that grow into one another, without trunks or shadows: a background."""
    stream = scene.stream
    for _ in range(count):
        place, depth = x + stream.uniform(-spread, spread), z + stream.uniform(-spread, spread)
        height = stream.uniform(5.0, 10.0)
        radius = height * stream.uniform(0.35, 0.5)
        shade = leaves(scene, stream.uniform(-0.08, 0.02), 0.08)

        def draw(
            place: float = place,
            depth: float = depth,
            height: float = height,
            radius: float = radius,
            shade: int = shade,
        ) -> None:
            blob(scene, shade, place, height * 0.48, depth, radius, height * 0.52)

        if depth > 4.0:
            scene.add(band, depth, draw)


def treeline(scene: Scene, x0: float, x1: float, z: float, height: float) -> None:
    """A wood far away."""
    stream = scene.stream
    shade = leaves(scene, -0.05)
    width = (x1 - x0) / 3

    def draw() -> None:
        for i in range(4):
            blob(scene, shade, x0 + i * width, height * 0.42, z, width * 0.8, height * stream.uniform(0.45, 0.6))

    scene.add(Band.BEHIND, z, draw)


def bush(scene: Scene, band: Band, x: float, z: float) -> None:
    """A shrub."""
    stream = scene.stream
    height = stream.uniform(0.7, 1.8)
    radius = height * stream.uniform(0.6, 1.0)
    dark, light = leaves(scene, -0.05, 0.1), leaves(scene, 0.05)

    def draw() -> None:
        blob(scene, dark, x, height * 0.45, z, radius, height * 0.5)
        blob(scene, light, x - radius * 0.2, height * 0.6, z, radius * 0.6, height * 0.36)

    scene.add(band, z, draw, x)
    scene.contacts.append([(x + radius * cx, 0.1, z + 0.6 * radius * cz) for cx, cz in CIRCLE])


def hedge(scene: Scene, side: int, distance: float, z0: float, z1: float) -> None:
    """A clipped hedge along the property line."""
    stream, mesh = scene.stream, scene.mesh
    sign = SIGN[side]
    x, top = sign * distance, stream.uniform(0.8, 1.8)
    face, lid = leaves(scene, -0.02), leaves(scene, 0.07)

    def draw() -> None:
        if top < mesh.camera.height:
            mesh.ground(lid, min(x, x + sign * 0.8), max(x, x + sign * 0.8), z0, z1, top)
        mesh.front(face, z0, x, x + sign * 0.8, 0.0, top)
        mesh.side(face, x, z0, z1, 0.0, top)

    scene.add(Band.PROPERTY_LINE, (z0 + z1) / 2, draw)
