"""Bicycles and motorcycles: flat figures that face the camera, seen from the side or from their end."""

from zodi.town.mesh import Colour, Label, Pattern
from zodi.town.scene import Scene
from zodi.town.vehicles import HEAD_LIGHT, TAIL_LIGHT

_FRAMES: tuple[Colour, ...] = (
    (0.62, 0.12, 0.12),
    (0.12, 0.26, 0.50),
    (0.12, 0.12, 0.13),
    (0.60, 0.62, 0.64),
    (0.16, 0.44, 0.30),
)
_PAINTS: tuple[Colour, ...] = (
    (0.70, 0.14, 0.14), (0.16, 0.26, 0.50), (0.14, 0.14, 0.17), (0.82, 0.80, 0.76), (0.22, 0.42, 0.28),
    (0.80, 0.62, 0.18), (0.48, 0.22, 0.42), (0.42, 0.42, 0.45), (0.84, 0.44, 0.18), (0.32, 0.50, 0.62),
)  # fmt: skip


def draw_bicycle(scene: Scene, x: float, y: float, z: float, view: str) -> None:
    """Draw a bicycle; view "right" or "left" (the way it points) or "along" (seen from its end)."""
    mesh = scene.mesh
    frame = mesh.material(Label.BICYCLE, scene.stream.choice(_FRAMES), grain=0.04, snow=0.5, cap=0.1)
    tyre = mesh.material(Label.BICYCLE, (0.10, 0.10, 0.11), grain=0.04, snow=0.2, cap=0.1)
    thin = max(0.05, mesh.pixels(z, 1.3))
    if view == "along":
        wide = max(0.09, mesh.pixels(z, 2.0))
        mesh.front(tyre, z, x - wide / 2, x + wide / 2, y, y + 0.68)
        mesh.front(frame, z, x - wide / 2, x + wide / 2, y + 0.5, y + 0.95)
        mesh.bar(frame, x - 0.27, y + 1.0, x + 0.27, y + 1.0, z, max(0.06, mesh.pixels(z, 1.5)))
        return
    d = 1.0 if view == "right" else -1.0
    rim = 1.0 - max(0.05, mesh.pixels(z, 1.4)) / 0.34
    spokes = mesh.material(
        Label.BICYCLE, (0.12, 0.12, 0.13), Pattern.SPOKES, (max(rim, 0.0),), grain=0.0, snow=0.2, cap=0.1
    )
    for wheel in (-0.52, 0.52):
        mesh.disc(spokes, x + wheel, y + 0.34, z, 0.34, 0.34)
    for x0, y0, x1, y1 in (
        (-0.52, 0.34, -0.1, 0.32),
        (-0.52, 0.34, -0.16, 0.8),
        (-0.1, 0.32, -0.18, 0.92),
        (-0.1, 0.32, 0.36, 0.8),
        (-0.16, 0.78, 0.36, 0.82),
        (0.52, 0.34, 0.34, 1.02),
        (0.22, 1.04, 0.4, 1.0),
    ):
        mesh.bar(frame, x + d * x0, y + y0, x + d * x1, y + y1, z, thin)
    mesh.bar(tyre, x - d * 0.3, y + 0.94, x - d * 0.06, y + 0.95, z, max(0.07, mesh.pixels(z, 1.4)))


def draw_motorcycle(scene: Scene, x: float, y: float, z: float, view: str, heading: int) -> None:
    """Draw a motorcycle or scooter; views as for a bicycle, heading 2 = towards the camera."""
    mesh, stream = scene.mesh, scene.stream
    paint = mesh.material(
        Label.MOTORCYCLE, stream.tint(stream.choice(_PAINTS), 0.04), grain=0.05, snow=0.6, cap=0.15, round_=0.3
    )
    dark = mesh.material(Label.MOTORCYCLE, (0.10, 0.10, 0.11), grain=0.05, snow=0.3, cap=0.12)
    metal = mesh.material(Label.MOTORCYCLE, (0.52, 0.53, 0.54), grain=0.05, snow=0.3, cap=0.12)
    lamp = mesh.material(
        Label.MOTORCYCLE,
        (0.9, 0.9, 0.85) if heading == 2 else (0.6, 0.06, 0.05),
        glow=HEAD_LIGHT if heading == 2 else TAIL_LIGHT,
        snow=0.0,
    )
    if view == "along":
        mesh.front(dark, z, x - 0.1, x + 0.1, y, y + 0.66)
        mesh.polygon(
            paint,
            [
                (x + a, y + b, z)
                for a, b in ((-0.2, 0.42), (0.2, 0.42), (0.27, 0.8), (0.16, 1.05), (-0.16, 1.05), (-0.27, 0.8))
            ],
        )
        mesh.bar(dark, x - 0.4, y + 1.08, x + 0.4, y + 1.08, z, max(0.07, mesh.pixels(z, 1.6)))
        mesh.disc(lamp, x, y + 0.84, z, 0.12, 0.11)
        mesh.front(metal, z, x - 0.36, x - 0.2, y + 0.28, y + 0.5)
        return
    d = 1.0 if view == "right" else -1.0
    for wheel in (-0.68, 0.7):
        mesh.disc(dark, x + d * wheel, y + 0.32, z, 0.33, 0.32)
        mesh.disc(metal, x + d * wheel, y + 0.32, z, 0.16, 0.16)

    def part(material: int, *outline: tuple[float, float]) -> None:
        mesh.polygon(material, [(x + d * a, y + b, z) for a, b in outline])

    part(metal, (-0.35, 0.28), (0.32, 0.28), (0.36, 0.62), (-0.3, 0.62))
    mesh.bar(metal, x + d * 0.68, y + 0.34, x + d * 0.42, y + 1.0, z, max(0.09, mesh.pixels(z, 1.5)))
    part(paint, (-0.9, 0.74), (-0.3, 0.56), (0.4, 0.6), (0.52, 0.84), (0.3, 0.98), (-0.05, 0.86), (-0.82, 0.88))
    part(dark, (-0.74, 0.86), (-0.08, 0.84), (-0.06, 0.93), (-0.7, 0.98))
    mesh.bar(dark, x + d * 0.3, y + 1.1, x + d * 0.48, y + 1.0, z, max(0.08, mesh.pixels(z, 1.5)))
    part(paint, (0.46, 0.8), (0.68, 0.82), (0.6, 1.06), (0.46, 1.02))
