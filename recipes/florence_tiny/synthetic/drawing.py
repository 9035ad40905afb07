"""Draws a scene at any size and aspect ratio; a square image equals the 4:3 image resized."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from PIL import Image, ImageDraw

from florence_rag.types import Box
from recipes.florence_tiny.synthetic.bbox_recorder import BBoxRecorder
from recipes.florence_tiny.synthetic.canvas import HEIGHT, WIDTH, Canvas, Color, shaded
from recipes.florence_tiny.synthetic.scene import SLOTS, Scene, SceneObject, Size
from recipes.florence_tiny.synthetic.shapes import DARK, PALE, SHAPES, Paint, Shape

PALETTE: dict[str, Color] = {
    "red": (216, 34, 38),
    "blue": (34, 88, 214),
    "green": (34, 150, 62),
    "yellow": (252, 214, 26),
    "orange": (246, 126, 16),
    "purple": (136, 48, 176),
    "white": (252, 252, 252),
    "black": (26, 26, 30),
}
SKIES: dict[str, tuple[Color, Color]] = {
    "morning": ((206, 226, 242), (248, 234, 218)),
    "noon": ((190, 222, 244), (232, 243, 249)),
    "evening": ((208, 206, 230), (248, 224, 220)),
    "overcast": ((206, 212, 218), (230, 233, 235)),
}
PAVEMENT: Color = (224, 219, 210)
ROAD: Color = (142, 145, 152)
SCALES: dict[Size, float] = {"small": 0.66, "large": 0.95}
OUTLINE_WIDTH = 3.6
GAP = 8.0
PAVEMENT_Y, ROAD_Y, FAR_LANE_Y, LANE_Y = 336, 398, 410, 464
SLOT = WIDTH / SLOTS


@dataclass(frozen=True, slots=True)
class MovingObject:
    """An object on the road: its center is at x, 0 (left edge) to 1 (right edge); lane is 0 (near) to 1 (far)."""

    category: str
    color: str
    heading: Literal["left", "right"]
    x: float
    lane: float = 0.0


def draw_scene(
    scene: Scene, size: tuple[int, int] = (WIDTH, HEIGHT), moving_object: MovingObject | None = None
) -> Image.Image:
    """Return an RGB image of size (width, height); equal arguments give equal pixels."""
    return next(draw_frames(scene, size, [moving_object]))


def draw_frames(
    scene: Scene, size: tuple[int, int], moving_objects: Iterable[MovingObject | None]
) -> Iterator[Image.Image]:
    """Yield the scene with each moving object as draw_scene draws it; the street is drawn only once."""
    factor = _supersampling_factor(size)
    street = _draw_still(scene, (size[0] * factor, size[1] * factor))
    for moving_object in moving_objects:
        image = street.copy()
        if moving_object is not None:
            _draw_moving_object(_canvas_on(image), moving_object, random.Random(scene.seed))
        yield image.reduce(factor)


def _draw_still(scene: Scene, size: tuple[int, int]) -> Image.Image:
    rng = random.Random(scene.seed)
    image = _sky(scene, size)
    canvas = _canvas_on(image)
    _draw_street(canvas, scene, rng)
    for obj, x in zip(scene.objects, object_centers(scene, rng), strict=True):
        _draw_object(canvas, obj, x, rng)
    return image


def _canvas_on(image: Image.Image) -> Canvas:
    return Canvas(ImageDraw.Draw(image), (image.width / WIDTH, image.height / HEIGHT))


def object_boxes(scene: Scene) -> list[Box]:
    """Return the box, xyxy in [0, 1], of every object with its outline and without its shadow."""
    rng = random.Random(scene.seed)
    canvas = Canvas(BBoxRecorder(), (1 / WIDTH, 1 / HEIGHT))
    _draw_street(canvas, scene, rng)  # This consumes the same random numbers as drawing does.
    found = []
    for obj, x in zip(scene.objects, object_centers(scene, rng), strict=True):
        recorder = BBoxRecorder()
        placed, paint = _placed(replace(canvas, target=recorder), obj, x, rng)
        SHAPES[obj.category].draw(placed.with_outline(paint.edge, OUTLINE_WIDTH), paint)
        found.append(recorder.box)
    return found


def object_centers(scene: Scene, rng: random.Random) -> list[float]:
    """Return the center of every object; objects in adjacent slots stand together, so that an empty slot is a gap."""
    centers: list[float] = []
    for run in _runs(scene.objects):
        widths = [_width(obj) for obj in run]
        total = sum(widths) + GAP * (len(run) - 1)
        middle = SLOT * (run[0].slot + run[-1].slot + 1) / 2 + rng.uniform(-8, 8)
        left = min(max(middle - total / 2, GAP), WIDTH - GAP - total)
        for width in widths:
            centers.append(left + width / 2)
            left += width + GAP
    return centers


def _supersampling_factor(size: tuple[int, int]) -> int:
    """Return a larger factor for small images, where an edge is a larger part of an object."""
    return 4 if max(size) <= 240 else 3 if max(size) <= 360 else 2


def _runs(objects: tuple[SceneObject, ...]) -> list[list[SceneObject]]:
    """Group the objects in adjacent slots."""
    runs = [[objects[0]]] if objects else []
    for before, obj in pairwise(objects):
        if obj.slot == before.slot + 1:
            runs[-1].append(obj)
        else:
            runs.append([obj])
    return runs


def _width(obj: SceneObject) -> float:
    return SHAPES[obj.category].width * SCALES[obj.size]


def _sky(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """Return an image with the vertical gradient of the sky."""
    column = Image.new("RGB", (1, 2))
    column.putdata(SKIES[scene.backdrop.time])
    gradient = column.resize((1, size[1]), Image.Resampling.BILINEAR, box=(0, 0.5, 1, 1.9))
    return gradient.resize(size, Image.Resampling.NEAREST)


def _draw_street(canvas: Canvas, scene: Scene, rng: random.Random) -> None:
    horizon = SKIES[scene.backdrop.time][1]
    for _ in range(rng.randrange(4) + (scene.backdrop.time == "overcast")):
        _draw_cloud(canvas.at(rng.uniform(0, WIDTH), rng.uniform(40, 130), rng.uniform(0.6, 1.2)), shaded(horizon, 1.5))
    _draw_buildings(canvas, shaded(horizon, 0.94), shaded(horizon, 0.985), rng)
    light = rng.uniform(0.95, 1.03)
    pavement, road = shaded(PAVEMENT, light), shaded(ROAD, light)
    ground = canvas.at(0, HEIGHT)
    ground.box(0, 0, WIDTH, HEIGHT - PAVEMENT_Y, pavement)
    for x in range(int(rng.uniform(-40, 0)), WIDTH, 64):
        ground.stroke([(x, HEIGHT - ROAD_Y), (x + 22, HEIGHT - PAVEMENT_Y)], 2, shaded(pavement, 0.95))
    ground.box(0, 0, WIDTH, HEIGHT - ROAD_Y, road)
    ground.box(0, HEIGHT - ROAD_Y - 6, WIDTH, HEIGHT - ROAD_Y, shaded(pavement, 0.88))
    _draw_markings(ground, scene.backdrop.road, shaded(road, 1.45), rng)


def _draw_cloud(canvas: Canvas, color: Color) -> None:
    for x, y, radius in ((-44, 0, 20), (-16, 8, 27), (18, 6, 24), (44, -2, 17)):
        canvas.disc(x, y, radius, color, stretch=0.75)


def _draw_buildings(canvas: Canvas, wall: Color, window: Color, rng: random.Random) -> None:
    """Draw buildings in the background, much paler than the objects of the scene."""
    x = rng.uniform(-40, 0)
    while x < WIDTH:
        wide, high = rng.uniform(50, 110), rng.uniform(50, 150)
        block = canvas.at(x, PAVEMENT_Y)
        block.box(0, 0, wide, high, wall)
        for column in range(int(wide // 24)):
            for row in range(int(high // 32)):
                block.box(10 + 22 * column, high - 26 - 30 * row, 20 + 22 * column, high - 10 - 30 * row, window)
        x += wide + rng.choice((0, 6, 30))


def _draw_markings(ground: Canvas, road: str, color: Color, rng: random.Random) -> None:
    start = rng.uniform(-60, 0)
    if road == "dashed":
        for step in range(8):
            ground.box(start + step * 96, 20, start + step * 96 + 48, 27, color)
    elif road == "crossing":
        left = rng.uniform(40, 460)
        for step in range(5):
            x = left + step * 30
            ground.polygon([(x, 4), (x + 18, 4), (x + 22, 46), (x + 6, 46)], color)


def _draw_object(canvas: Canvas, obj: SceneObject, x: float, rng: random.Random) -> None:
    placed, paint = _placed(canvas, obj, x, rng)
    _draw_outlined(placed, SHAPES[obj.category], paint)


def _placed(canvas: Canvas, obj: SceneObject, x: float, rng: random.Random) -> tuple[Canvas, Paint]:
    paint = _paint(obj.color, rng)
    ground = SHAPES[obj.category].ground + rng.uniform(-5, 5)
    return canvas.at(x, ground, SCALES[obj.size], rng.choice((-1, 1))), paint


def _draw_moving_object(canvas: Canvas, moving_object: MovingObject, rng: random.Random) -> None:
    flip = 1 if moving_object.heading == "right" else -1
    y = LANE_Y + moving_object.lane * (FAR_LANE_Y - LANE_Y)
    scale = SCALES["large"] + moving_object.lane * (SCALES["small"] - SCALES["large"])
    placed = canvas.at(moving_object.x * WIDTH, y, scale, flip)
    _draw_outlined(placed, SHAPES[moving_object.category], _paint(moving_object.color, rng))


def _draw_outlined(placed: Canvas, shape: Shape, paint: Paint) -> None:
    shadow = shaded(ROAD if placed.y > ROAD_Y + 4 else PAVEMENT, 0.84)
    placed.disc(0, 1, shape.width * 0.47, shadow, stretch=0.13)
    shape.draw(placed.with_outline(paint.edge, OUTLINE_WIDTH), paint)
    shape.draw(placed, paint)


def _paint(color: str, rng: random.Random) -> Paint:
    fill = shaded(PALETTE[color], rng.uniform(0.93, 1.07))
    return Paint(
        fill=fill,
        edge=PALE if color == "black" else DARK,
        ink=DARK if color in ("white", "yellow") else PALE,
        variant=rng.getrandbits(16),
    )
