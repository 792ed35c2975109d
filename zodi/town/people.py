"""People on foot, on bicycles and on motorcycles: flat figures that face the camera."""

from zodi.town.cycles import draw_bicycle, draw_motorcycle
from zodi.town.mesh import Colour, Label
from zodi.town.scene import Band, Lamp, Scene
from zodi.town.vehicles import HEAD_LIGHT, TAIL_LIGHT

_SKIN: tuple[Colour, ...] = ((0.88, 0.70, 0.58), (0.76, 0.56, 0.44), (0.52, 0.36, 0.27), (0.36, 0.25, 0.19))
_HAIR: tuple[Colour, ...] = ((0.14, 0.11, 0.09), (0.32, 0.22, 0.14), (0.62, 0.48, 0.28), (0.55, 0.54, 0.53))
_CLOTHES: tuple[Colour, ...] = (
    (0.70, 0.14, 0.14), (0.16, 0.26, 0.50), (0.14, 0.14, 0.17), (0.82, 0.80, 0.76), (0.22, 0.42, 0.28),
    (0.80, 0.62, 0.18), (0.48, 0.22, 0.42), (0.42, 0.42, 0.45), (0.84, 0.44, 0.18), (0.32, 0.50, 0.62),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = (
    (0.16, 0.20, 0.32),
    (0.13, 0.13, 0.15),
    (0.42, 0.38, 0.32),
    (0.30, 0.30, 0.32),
    (0.24, 0.20, 0.18),
)


def _cloth(scene: Scene, label: Label, colour: Colour) -> int:
    return scene.mesh.material(label, scene.stream.tint(colour, 0.05), grain=0.1, snow=0.35, cap=0.15, round_=0.15)


def place_person(scene: Scene, x: float, z: float, y: float, band: Band = Band.STREET) -> None:
    """Somebody on foot."""
    stream, mesh = scene.stream, scene.mesh
    if not scene.claim(x, z, 0.28, 0.2):
        return
    scale = stream.uniform(0.92, 1.1) * (0.68 if stream.chance(0.1) else 1.0)
    shirt, legs = (
        _cloth(scene, Label.PERSON, stream.choice(_CLOTHES)),
        _cloth(scene, Label.PERSON, stream.choice(_TROUSERS)),
    )
    skin, hair = _cloth(scene, Label.PERSON, stream.choice(_SKIN)), _cloth(scene, Label.PERSON, stream.choice(_HAIR))
    shoes = mesh.material(Label.PERSON, (0.10, 0.09, 0.09), grain=0.03, snow=0.0)
    stride = stream.uniform(0.05, 0.26)
    swing = stream.uniform(0.04, 0.2)
    coat, facing = stream.chance(0.3), stream.chance(0.5)
    bag = not facing and stream.chance(0.4)
    bag_colour = _cloth(scene, Label.PERSON, stream.choice(_CLOTHES))
    leg = max(0.16, mesh.pixels(z, 1.6) / scale)
    arm = max(0.11, mesh.pixels(z, 1.2) / scale)

    def bar(material: int, x0: float, y0: float, x1: float, y1: float, width: float) -> None:
        mesh.bar(material, x + x0 * scale, y + y0 * scale, x + x1 * scale, y + y1 * scale, z, width * scale)

    def draw() -> None:
        bar(shoes, -stride - 0.05, 0.03, -stride + 0.1, 0.03, 0.09)
        bar(shoes, stride - 0.05, 0.03, stride + 0.1, 0.03, 0.09)
        bar(legs, -stride, 0.05, -0.06, 0.86, leg)
        bar(legs, stride, 0.05, 0.07, 0.86, leg)
        bar(shirt, -0.2, 1.36, -0.22 - swing, 0.82, arm)
        bar(shirt, 0.2, 1.36, 0.22 + swing, 0.82, arm)
        low = 0.55 if coat else 0.8
        mesh.polygon(
            shirt,
            [
                (x + a * scale, y + b * scale, z)
                for a, b in ((-0.19, low), (0.19, low), (0.22, 1.38), (0.1, 1.47), (-0.1, 1.47), (-0.22, 1.38))
            ],
        )
        if bag:
            mesh.polygon(
                bag_colour,
                [
                    (x + a * scale, y + b * scale, z)
                    for a, b in ((-0.14, 0.98), (0.14, 0.98), (0.15, 1.36), (-0.15, 1.36))
                ],
            )
        bar(skin, 0.0, 1.44, 0.0, 1.52, 0.12)
        mesh.disc(hair, x, y + 1.63 * scale, z, 0.13 * scale, 0.145 * scale)
        if facing:
            mesh.disc(skin, x, y + 1.59 * scale, z, 0.105 * scale, 0.115 * scale)

    scene.add(band, z, draw, x)
    scene.shade_box(x - 0.2, x + 0.2, z - 0.12, z + 0.12, 1.6 * scale)


def place_parked(scene: Scene, what: str, x: float, z: float, y: float) -> None:
    """A "bicycle" or a "motorcycle" that nobody sits on."""
    view = scene.stream.choice(("right", "left", "along"))
    if not scene.claim(x, z, 0.4 if view == "along" else 0.9, 0.3):
        return
    draw = (
        (lambda: draw_bicycle(scene, x, y, z, view))
        if what == "bicycle"
        else (lambda: draw_motorcycle(scene, x, y, z, view, 0))
    )
    scene.add(Band.STREET, z, draw, x)
    long = view != "along"
    scene.shade_box(x - (0.85 if long else 0.12), x + (0.85 if long else 0.12), z - 0.1, z + 0.1, 0.8)


def place_rider(scene: Scene, what: str, x: float, z: float, heading: int, y: float = 0.0) -> None:
    """Somebody on a "bicycle" or a "motorcycle"; headings as for vehicles."""
    stream, mesh = scene.stream, scene.mesh
    if not scene.claim(x, z, 0.4 if heading % 2 == 0 else 0.9, 1.0 if heading % 2 == 0 else 0.4):
        return
    shirt, legs = (
        _cloth(scene, Label.RIDER, stream.choice(_CLOTHES)),
        _cloth(scene, Label.RIDER, stream.choice(_TROUSERS)),
    )
    skin = _cloth(scene, Label.RIDER, stream.choice(_SKIN))
    helmet = (
        _cloth(scene, Label.RIDER, stream.choice(_CLOTHES))
        if what == "motorcycle" or stream.chance(0.5)
        else _cloth(scene, Label.RIDER, stream.choice(_HAIR))
    )
    view = {0: "along", 1: "left", 2: "along", 3: "right"}[heading]
    leg, arm = max(0.16, mesh.pixels(z, 1.6)), max(0.11, mesh.pixels(z, 1.3))
    motor = what == "motorcycle"
    seat = 0.92 if motor else 1.0

    def draw() -> None:
        if motor:
            draw_motorcycle(scene, x, y, z, view, heading)
        else:
            draw_bicycle(scene, x, y, z, view)
        if view == "along":
            wide = 0.3 if motor else 0.16
            for s in (-1.0, 1.0):
                mesh.bar(legs, x + s * 0.1, y + seat, x + s * wide, y + seat - 0.38, z, leg)
                mesh.bar(legs, x + s * wide, y + seat - 0.34, x + s * (wide - 0.03), y + 0.28, z, leg * 0.85)
                mesh.bar(shirt, x + s * 0.2, y + seat + 0.52, x + s * 0.34, y + seat + 0.14, z, arm)
            mesh.polygon(
                shirt,
                [
                    (x + a, y + seat + b, z)
                    for a, b in ((-0.18, -0.06), (0.18, -0.06), (0.23, 0.5), (0.1, 0.6), (-0.1, 0.6), (-0.23, 0.5))
                ],
            )
            head_x = x
        else:
            d = 1.0 if view == "right" else -1.0
            mesh.bar(legs, x - d * 0.18, y + seat, x + d * 0.2, y + seat - 0.26, z, leg)
            mesh.bar(legs, x + d * 0.2, y + seat - 0.22, x + d * (0.05 if motor else 0.0), y + 0.3, z, leg * 0.85)
            mesh.bar(legs, x - d * 0.16, y + seat - 0.02, x - d * 0.06, y + 0.42, z, leg * 0.85)
            mesh.polygon(
                shirt,
                [
                    (x + d * a, y + seat + b, z)
                    for a, b in ((-0.34, 0.0), (-0.05, -0.06), (0.2, 0.44), (0.14, 0.58), (-0.06, 0.54))
                ],
            )
            mesh.bar(shirt, x + d * 0.12, y + seat + 0.46, x + d * 0.4, y + seat + 0.1, z, arm)
            head_x = x + d * 0.2
        mesh.disc(helmet, head_x, y + seat + 0.76, z, 0.135, 0.15)
        mesh.disc(
            skin,
            head_x + (0.0 if view == "along" else 0.04 * (1 if view == "right" else -1)),
            y + seat + 0.7,
            z,
            0.09,
            0.09,
        )

    scene.add(Band.STREET, z, draw, x)
    long = view != "along"
    scene.shade_box(x - (0.85 if long else 0.25), x + (0.85 if long else 0.25), z - 0.3, z + 0.3, 1.5)
    if motor and heading in (0, 2):
        place = (x + scene.street.camera.bend * z * z, y + 0.84, z)
        scene.lamps.append(
            Lamp(place, HEAD_LIGHT if heading == 2 else TAIL_LIGHT, 0.8 if heading == 2 else 0.3, 0.6, False)
        )


def place_bench_of_bicycles(scene: Scene, x: float, z: float, y: float) -> None:
    """A row of two to four parked bicycles."""
    for i in range(scene.stream.integer(2, 4)):
        place_parked(scene, "bicycle", x + (i % 2) * 0.3, z + i * 0.9, y)
