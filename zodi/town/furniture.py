"""Street furniture: lamp posts, traffic lights, signs, gantries, bollards, utility poles."""

from zodi.town.mesh import CIRCLE, Colour, Label, scaled
from zodi.town.scene import Band, Lamp, Scene

SODIUM: Colour = (1.0, 0.62, 0.25)
WHITE_LAMP: Colour = (0.95, 0.95, 0.85)
_POSTS: tuple[Colour, ...] = ((0.30, 0.32, 0.32), (0.50, 0.52, 0.52), (0.20, 0.26, 0.24), (0.42, 0.38, 0.34))
_SIGNS: tuple[tuple[Colour, Colour], ...] = (  # rim, face
    ((0.78, 0.10, 0.10), (0.92, 0.92, 0.90)), ((0.10, 0.24, 0.62), (0.16, 0.34, 0.74)),
    ((0.80, 0.12, 0.10), (0.80, 0.12, 0.10)), ((0.92, 0.92, 0.90), (0.88, 0.68, 0.12)),
    ((0.10, 0.24, 0.62), (0.90, 0.90, 0.90)),
)  # fmt: skip


def _post(scene: Scene) -> int:
    return scene.mesh.material(
        Label.POLE, scene.stream.tint(scene.stream.choice(_POSTS), 0.03), grain=0.08, snow=0.5, cap=0.12, round_=0.1
    )


def street_lamp(scene: Scene, x: float, z: float, y: float, toward: float, colour: Colour) -> None:
    """A lamp post of 7 to 8 metres; its arm reaches toward the middle of the street (+1 right, -1 left)."""
    if not scene.claim(x, z, 0.3, 0.3):
        return
    mesh = scene.mesh
    post = _post(scene)
    head = mesh.material(Label.POLE, (0.62, 0.62, 0.60), glow=colour, grain=0.03, snow=0.6, cap=0.1)
    height = 7.4
    reach = 1.7
    width = max(0.17, mesh.pixels(z, 2.0))

    def draw() -> None:
        mesh.front(post, z, x - width / 2, x + width / 2, y, y + height)
        mesh.bar(post, x, y + height - 0.1, x + toward * reach, y + height + 0.25, z, max(0.11, mesh.pixels(z, 1.3)))
        mesh.bar(
            head,
            x + toward * (reach - 0.3),
            y + height + 0.2,
            x + toward * (reach + 0.5),
            y + height + 0.22,
            z,
            max(0.2, mesh.pixels(z, 1.6)),
        )

    scene.add(Band.STREET, z, draw, x)
    scene.shade_box(x - 0.1, x + 0.1, z - 0.1, z + 0.1, height)
    shift = scene.street.camera.bend * z * z
    scene.lamps.append(Lamp((x + toward * reach + shift, y + height + 0.1, z), colour, 1.0, 0.9, True))


def traffic_light(scene: Scene, x: float, z: float, y: float, state: int, *, arm: float = 0.0) -> None:
    """A signal on a post, with a second one on an arm of the given length over the road where that is not 0."""
    mesh = scene.mesh
    post = _post(scene)
    case = mesh.material(Label.LIGHT, (0.11, 0.12, 0.11), grain=0.05, snow=0.7, cap=0.12)
    rim = (
        mesh.material(Label.LIGHT, (0.78, 0.76, 0.70), grain=0.05, snow=0.7, cap=0.12)
        if scene.stream.chance(0.4)
        else case
    )
    colours = ((0.95, 0.12, 0.08), (0.98, 0.68, 0.10), (0.12, 0.90, 0.42))
    lenses = [
        mesh.material(
            Label.LIGHT,
            c if i == state else (c[0] * 0.25, c[1] * 0.25, c[2] * 0.25),
            glow=c if i == state else (0.0, 0.0, 0.0),
            grain=0.0,
            snow=0.0,
        )
        for i, c in enumerate(colours)
    ]
    width = max(0.15, mesh.pixels(z, 2.0))
    half = max(0.19, mesh.pixels(z, 1.7))
    tall = max(1.0, mesh.pixels(z, 7.0))
    top = 5.6 if arm else 3.3

    def head(hx: float, low: float) -> None:
        mesh.front(rim, z, hx - half * 1.25, hx + half * 1.25, low - 0.06, low + tall + 0.06)
        mesh.front(case, z, hx - half, hx + half, low, low + tall)
        for i, lens in enumerate(reversed(lenses)):
            mesh.disc(lens, hx, low + tall * (0.18 + 0.32 * i), z, half * 0.72, tall * 0.14)

    def draw() -> None:
        mesh.front(post, z, x - width / 2, x + width / 2, y, y + top)
        if arm:
            mesh.bar(post, x, y + top - 0.1, x + arm, y + top - 0.1, z, max(0.13, mesh.pixels(z, 1.5)))
            head(x + arm, y + top - 0.1 - tall * 0.8)
        head(x, y + 2.3)

    scene.add(Band.STREET, z, draw, x)
    scene.shade_box(x - 0.1, x + 0.1, z - 0.1, z + 0.1, top)
    shift = scene.street.camera.bend * z * z
    lens_y = tall * (0.18 + 0.32 * (2 - state))
    scene.lamps.append(Lamp((x + shift, y + 2.3 + lens_y, z), colours[state], 0.3, 0.45, False))
    if arm:
        scene.lamps.append(
            Lamp((x + arm + shift, y + top - 0.1 - tall * 0.8 + lens_y, z), colours[state], 0.3, 0.45, False)
        )


def traffic_sign(scene: Scene, x: float, z: float, y: float) -> None:
    """A round, three- or four-cornered sign on a post, sometimes with a plate below."""
    if not scene.claim(x, z, 0.3, 0.3):
        return
    stream, mesh = scene.stream, scene.mesh
    post = _post(scene)
    rim_colour, face_colour = stream.choice(_SIGNS)
    glow = 0.12  # signs throw head light back
    rim = mesh.material(Label.SIGN, rim_colour, grain=0.03, glow=scaled(rim_colour, glow), snow=0.5, cap=0.1)
    face = mesh.material(Label.SIGN, face_colour, grain=0.03, glow=scaled(face_colour, glow), snow=0.3, cap=0.1)
    mark = mesh.material(Label.SIGN, (0.12, 0.12, 0.14), grain=0.0, snow=0.0)
    shape = stream.choice(("round", "round", "triangle", "square", "board"))
    size = max(stream.uniform(0.36, 0.48), mesh.pixels(z, 2.4))
    centre = y + stream.uniform(2.2, 2.7)
    width = max(0.1, mesh.pixels(z, 2.0))
    plate = stream.chance(0.3)

    def figure(material: int, scale: float) -> None:
        s = size * scale
        if shape == "round":
            mesh.disc(material, x, centre, z, s, s)
        elif shape == "triangle":
            mesh.polygon(
                material,
                ((x - s * 1.1, centre - s * 0.8, z), (x + s * 1.1, centre - s * 0.8, z), (x, centre + s * 1.1, z)),
            )
        elif shape == "square":
            mesh.front(material, z, x - s * 0.9, x + s * 0.9, centre - s * 0.9, centre + s * 0.9)
        else:
            mesh.front(material, z, x - s * 1.7, x + s * 1.7, centre - s, centre + s)

    def draw() -> None:
        mesh.front(post, z, x - width / 2, x + width / 2, y, centre)
        figure(rim, 1.0)
        figure(face, 0.74)
        mesh.front(mark, z, x - size * 0.35, x + size * 0.35, centre - size * 0.12, centre + size * 0.12)
        if plate:
            mesh.front(rim, z, x - size * 0.8, x + size * 0.8, centre - size * 1.75, centre - size * 1.15)

    scene.add(Band.STREET, z, draw, x)
    scene.shade_box(x - 0.1, x + 0.1, z - 0.1, z + 0.1, centre)


def gantry(scene: Scene, z: float) -> None:
    """Direction boards on a beam across the carriageway."""
    stream, mesh, street = scene.stream, scene.mesh, scene.street
    post = _post(scene)
    colour = stream.choice(((0.10, 0.26, 0.58), (0.10, 0.42, 0.26), (0.88, 0.88, 0.84)))
    board = mesh.material(Label.SIGN, colour, grain=0.04, glow=scaled(colour, 0.12), snow=0.5, cap=0.15)
    text = mesh.material(
        Label.SIGN,
        (0.92, 0.92, 0.9) if colour[0] < 0.5 else (0.1, 0.1, 0.12),
        grain=0.0,
        glow=(0.15, 0.15, 0.15),
        snow=0.0,
    )
    right = street.kerb[1] + 0.5
    left = -street.lane / 2 - 0.6
    width = max(0.26, mesh.pixels(z, 2.0))

    def draw() -> None:
        mesh.front(post, z, right - width / 2, right + width / 2, 0.0, 6.9)
        mesh.front(post, z, left, right, 6.4, 6.4 + width)
        mesh.front(board, z - 0.05, -1.6, 1.7, 5.5, 7.2)
        for y in (6.7, 6.15, 5.75):
            mesh.front(text, z - 0.06, -1.2, -1.2 + 1.4 + (y - 5.5) * 0.8, y, y + 0.22)

    scene.add(Band.STREET, z, draw, right)


def bollards(scene: Scene, x: float, z0: float, z1: float, y: float) -> None:
    """A row of bollards along a kerb."""
    mesh = scene.mesh
    iron = mesh.material(
        Label.POLE,
        scene.stream.choice(((0.22, 0.23, 0.24), (0.62, 0.60, 0.56), (0.70, 0.66, 0.60))),
        grain=0.08,
        snow=0.9,
        cap=0.15,
        round_=0.2,
    )

    def one(z: float) -> None:
        width = max(0.14, mesh.pixels(z, 2.0))
        scene.add(Band.STREET, z, lambda: mesh.front(iron, z, x - width / 2, x + width / 2, y, y + 0.95), x)
        scene.contacts.append([(x + 0.25 * cx, 0.1, z + 0.25 * cz) for cx, cz in CIRCLE])

    z = z0
    while z < z1:
        one(z)
        z += 2.2


def utility_pole(scene: Scene, x: float, z: float, y: float) -> None:
    """A wooden pole with a cross-arm."""
    if not scene.claim(x, z, 0.3, 0.3):
        return
    mesh = scene.mesh
    wood = mesh.material(Label.POLE, scene.stream.tint((0.40, 0.32, 0.25), 0.05), grain=0.16, snow=0.3, cap=0.1)
    width = max(0.26, mesh.pixels(z, 2.0))

    def draw() -> None:
        mesh.front(wood, z, x - width / 2, x + width / 2, y, y + 8.5)
        mesh.front(wood, z, x - 0.9, x + 0.9, y + 7.6, y + 7.6 + max(0.16, mesh.pixels(z, 1.3)))

    scene.add(Band.STREET, z, draw, x)
    scene.shade_box(x - 0.13, x + 0.13, z - 0.1, z + 0.1, 8.0)
