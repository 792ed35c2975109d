"""What is built at the property line: walls, fences, and the masts of a railway."""

from zodi.town.mesh import Label, Pattern, scaled
from zodi.town.scene import Band, Scene
from zodi.town.street import SIGN


def wall(scene: Scene, side: int, distance: float, z0: float, z1: float) -> None:
    """A free-standing wall of brick or render with a coping."""
    stream, mesh = scene.stream, scene.mesh
    sign = SIGN[side]
    x, top = sign * distance, stream.uniform(0.9, 2.4)
    colour = stream.tint(
        stream.choice(((0.56, 0.34, 0.27), (0.66, 0.62, 0.56), (0.50, 0.46, 0.42), (0.60, 0.44, 0.34))), 0.06
    )
    brick = mesh.material(
        Label.WALL,
        colour,
        Pattern.BRICKS,
        (stream.uniform(0.5, 0.9), stream.uniform(0.22, 0.4), 1.22),
        grain=0.16,
        snow=0.9,
        cap=0.2,
    )
    coping = mesh.material(Label.WALL, scaled(colour, 1.3), grain=0.08, snow=1.0, cap=0.3)

    def draw() -> None:
        if top < mesh.camera.height:
            mesh.ground(coping, min(x, x + sign * 0.3), max(x, x + sign * 0.3), z0, z1, top)
        mesh.front(brick, z0, x, x + sign * 0.3, 0.0, top)
        mesh.side(brick, x, z0, z1, 0.0, top)
        mesh.side(coping, x - sign * 0.05, z0, z1, top - 0.14, top + 0.05)

    scene.raise_skyline(side, z0, z1, top)
    scene.add(Band.PROPERTY_LINE, (z0 + z1) / 2, draw)


def fence(scene: Scene, side: int, distance: float, z0: float, z1: float) -> None:
    """Boards, pickets, a railing or wire mesh between posts."""
    stream, mesh = scene.stream, scene.mesh
    sign = SIGN[side]
    x = sign * distance
    style = stream.choice(("boards", "pickets", "railing", "wire"))
    top = {"boards": 1.6, "pickets": 1.05, "railing": 1.25, "wire": 1.9}[style] * stream.uniform(0.9, 1.15)
    wood = stream.choice(((0.50, 0.36, 0.24), (0.62, 0.50, 0.36), (0.82, 0.80, 0.76), (0.36, 0.42, 0.34)))
    iron = stream.choice(((0.20, 0.22, 0.22), (0.16, 0.28, 0.22), (0.52, 0.54, 0.55)))
    colour = stream.tint(wood if style in ("boards", "pickets") else iron, 0.05)
    if style == "boards":
        panel = mesh.material(Label.FENCE, colour, Pattern.BOARDS, (0.32, 0.12, 0.0), grain=0.14)
    elif style == "pickets":
        panel = mesh.material(Label.FENCE, colour, Pattern.BOARDS, (0.34, 0.42, 1.0), grain=0.1)
    elif style == "railing":
        panel = mesh.material(Label.FENCE, colour, Pattern.BOARDS, (0.26, 0.5, 1.0), grain=0.06)
    else:
        panel = mesh.material(Label.FENCE, colour, Pattern.WIRE, (0.42,), grain=0.06)
    post = mesh.material(Label.FENCE, scaled(colour, 0.85), grain=0.06)

    def draw() -> None:
        mesh.side(panel, x, z0, z1, 0.0, top)
        mesh.side(post, x, z0, z1, top - 0.14, top)
        if style in ("pickets", "railing"):
            mesh.side(post, x, z0, z1, 0.2, 0.32)
        z = z0 + 0.1
        while z < z1:
            mesh.side(post, x - sign * 0.02, z, z + max(0.12, mesh.pixels(z, 0.2)), 0.0, top + 0.08, cut=False)
            z += 2.6

    scene.add(Band.PROPERTY_LINE, (z0 + z1) / 2, draw)


def mast(scene: Scene, x: float, z: float, y: float, outward: float) -> None:
    """A mast that carries the wire over a railway."""
    mesh = scene.mesh
    steel = mesh.material(Label.POLE, (0.42, 0.45, 0.45), grain=0.06)
    width = max(0.26, mesh.pixels(z, 1.8))

    def draw() -> None:
        mesh.front(steel, z, x - width / 2, x + width / 2, y, y + 6.8)
        mesh.bar(steel, x, y + 6.2, x + outward * 3.2, y + 6.4, z, max(0.14, mesh.pixels(z, 1.2)))

    scene.add(Band.GARDENS, z, draw)
