"""A seed becomes polygons; polygons become the map of what is seen at each pixel, and the labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi.town import raster
from zodi.town.frontage import place_frontage
from zodi.town.ground import draw_ground
from zodi.town.mesh import SEE_THROUGH, Label, Mesh, Pattern, Point
from zodi.town.random import Floats, Stream
from zodi.town.scene import Scene
from zodi.town.street import plan_street
from zodi.town.traffic import place_street

Ints = NDArray[np.int64]
BASE_HEIGHT, BASE_WIDTH = 128, 256  # the image that camera and pixel sizes are defined in


@dataclass(frozen=True, slots=True)
class View:
    """How the 128x256 image plane maps to the pixels of an image of another size: it is covered, the excess cut off."""

    height: int
    width: int
    scale: float
    left: float  # pixels
    top: float

    @classmethod
    def of(cls, height: int, width: int) -> "View":
        scale = max(height / BASE_HEIGHT, width / BASE_WIDTH)
        return cls(height, width, scale, (width - BASE_WIDTH * scale) / 2, (height - BASE_HEIGHT * scale) / 2)


@dataclass(frozen=True, slots=True)
class Polygons:
    """All polygons of a scene as arrays; row 0 is the sky. P polygons, V vertices, M materials."""

    points: Floats  # (V, 3) metres, bent
    first: Ints  # (P,) first vertex of each
    counts: Ints  # (P,)
    material: Ints  # (P,)
    table: Floats  # (M, 17) rows of Mesh.material


def build_scene(seed: int) -> Scene:
    """All objects of a scene, drawn into its mesh in painter's order."""
    stream = Stream(seed, "geometry")
    street = plan_street(stream)
    scene = Scene(stream, street, Mesh(street.camera))
    scene.mesh.material(Label.SKY, (0.5, 0.6, 0.8), Pattern.SKY, grain=0.0, snow=0.0)
    scene.mesh.polygon(0, ((0.0, 0.0, 9e3), (1.0, 0.0, 9e3), (0.0, 1.0, 9e3)))
    draw_ground(scene)
    place_frontage(scene)
    place_street(scene)
    scene.draw()
    return scene


def collect(scene: Scene) -> Polygons:
    """The mesh as arrays."""
    mesh = scene.mesh
    counts = np.array(mesh.counts, dtype=np.int64)
    return Polygons(
        points=bent(np.array(mesh.points).reshape(-1, 3), scene.street.camera.bend),
        first=np.cumsum(counts) - counts,
        counts=counts,
        material=np.array(mesh.materials, dtype=np.int64),
        table=np.array(list(mesh.table)),
    )


def visible(scene: Scene, polygons: Polygons, view: View) -> tuple[Ints, Ints]:
    """Which polygon is seen at each pixel, (H, W) twice: with all polygons, and without those one can see through."""
    x, y = project(scene, polygons.points, view)
    away = raster.signed_area(x, y, polygons.counts) <= 0
    hidden = away & np.array(scene.mesh.one_sided)
    hidden[0] = True
    shown = np.flatnonzero(~hidden)
    keep = np.repeat(~hidden, polygons.counts)
    pixels, polygon = raster.coverage(x[keep], y[keep], polygons.counts[shown], view.height, view.width)
    polygon = shown[polygon]
    front = np.zeros(view.height * view.width, dtype=np.int64)
    front[pixels] = polygon  # repeated indices: the last one stays, which is painter's order
    porous = np.isin(polygons.table[:, 7], [float(p) for p in SEE_THROUGH])[polygons.material]
    solid = np.zeros_like(front)
    opaque = ~porous[polygon]
    solid[pixels[opaque]] = polygon[opaque]
    shape = (view.height, view.width)
    return front.reshape(shape), solid.reshape(shape)


def covered(scene: Scene, shapes: list[list[Point]], view: View) -> NDArray[np.bool_]:
    """The pixels that any of the polygons on the ground covers, (H, W)."""
    mask = np.zeros(view.height * view.width, dtype=bool)
    if shapes:
        counts = np.array([len(shape) for shape in shapes], dtype=np.int64)
        flat: list[Any] = [point for shape in shapes for point in shape]
        x, y = project(scene, bent(np.array(flat), scene.street.camera.bend), view)
        pixels, _ = raster.coverage(x, y, counts, view.height, view.width)
        mask[pixels] = True
    return mask.reshape(view.height, view.width)


def bent(points: Floats, bend: float) -> Floats:
    """Points (V, 3) of a straight street moved sideways so that it curves."""
    points[:, 0] += bend * np.square(points[:, 2])
    return points


def project(scene: Scene, points: Floats, view: View) -> tuple[Ints, Ints]:
    """Fixed-point pixel coordinates (V,) twice of points (V, 3) in metres."""
    camera = scene.street.camera
    per_metre = camera.focal / points[:, 2]
    x = (camera.centre + points[:, 0] * per_metre) * view.scale + view.left
    y = (camera.horizon + (camera.height - points[:, 1]) * per_metre) * view.scale + view.top
    steps = raster.SUBPIXELS
    return np.rint(x * steps).astype(np.int64), np.rint(y * steps).astype(np.int64)
