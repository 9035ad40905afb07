"""Draws a scene, at any size and any aspect: a square picture equals the 4:3 one squashed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from PIL import Image, ImageDraw

from florence_rag.training.world.extent import Extent
from florence_rag.training.world.pen import HEIGHT, WIDTH, Color, Pen, shaded
from florence_rag.training.world.scene import SLOTS, Scene, Size, Thing
from florence_rag.training.world.shapes import DARK, PALE, SHAPES, Paint, Shape
from florence_rag.types import Box

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
OUTLINE = 3.6
GAP = 8.0
PAVEMENT_Y, ROAD_Y, FAR_LANE_Y, LANE_Y = 336, 398, 410, 464
SLOT = WIDTH / SLOTS


@dataclass(frozen=True, slots=True)
class Passer:
    """Something under way: with its middle at x, 0 (left edge) to 1 (right edge), and so far over to the other side of
    the road, 0 to 1.
    """

    object: str
    color: str
    heading: Literal["left", "right"]
    x: float
    across: float = 0.0


def draw(scene: Scene, size: tuple[int, int] = (WIDTH, HEIGHT), passer: Passer | None = None) -> Image.Image:
    """RGB picture of size (width, height). Equal arguments give equal pixels."""
    return next(draw_frames(scene, size, [passer]))


def draw_frames(scene: Scene, size: tuple[int, int], passers: Iterable[Passer | None]) -> Iterator[Image.Image]:
    """The same scene with one passer after the other: each as `draw` would draw it, but the street only once."""
    finer = _supersampling(size)
    street = _draw_still(scene, (size[0] * finer, size[1] * finer))
    for passer in passers:
        image = street.copy()
        if passer is not None:
            _draw_passer(_pen_on(image), passer, random.Random(scene.seed))
        yield image.reduce(finer)


def _draw_still(scene: Scene, size: tuple[int, int]) -> Image.Image:
    rng = random.Random(scene.seed)
    image = _sky(scene, size)
    pen = _pen_on(image)
    _draw_street(pen, scene, rng)
    for thing, x in zip(scene.things, place(scene, rng), strict=True):
        _draw_thing(pen, thing, x, rng)
    return image


def _pen_on(image: Image.Image) -> Pen:
    return Pen(ImageDraw.Draw(image), (image.width / WIDTH, image.height / HEIGHT))


def boxes(scene: Scene) -> list[Box]:
    """The box around every thing with its outline and without its shadow, in the order of scene.things."""
    rng = random.Random(scene.seed)
    pen = Pen(Extent(), (1 / WIDTH, 1 / HEIGHT))
    _draw_street(pen, scene, rng)  # which draws random numbers, too
    found = []
    for thing, x in zip(scene.things, place(scene, rng), strict=True):
        extent = Extent()
        tool, paint = _posed(replace(pen, canvas=extent), thing, x, rng)
        SHAPES[thing.object].draw(tool.outlining(paint.edge, OUTLINE), paint)
        found.append(extent.box)
    return found


def place(scene: Scene, rng: random.Random) -> list[float]:
    """The middle of every thing. Things in adjacent slots are drawn together, so that an empty slot shows as a gap."""
    centers: list[float] = []
    for run in _runs(scene.things):
        widths = [_width(thing) for thing in run]
        total = sum(widths) + GAP * (len(run) - 1)
        middle = SLOT * (run[0].slot + run[-1].slot + 1) / 2 + rng.uniform(-8, 8)
        left = min(max(middle - total / 2, GAP), WIDTH - GAP - total)
        for width in widths:
            centers.append(left + width / 2)
            left += width + GAP
    return centers


def _supersampling(size: tuple[int, int]) -> int:
    """Small pictures are drawn finer: there an edge is a larger part of a thing."""
    return 4 if max(size) <= 240 else 3 if max(size) <= 360 else 2


def _runs(things: tuple[Thing, ...]) -> list[list[Thing]]:
    """Groups of things in adjacent slots."""
    runs = [[things[0]]] if things else []
    for before, thing in pairwise(things):
        if thing.slot == before.slot + 1:
            runs[-1].append(thing)
        else:
            runs.append([thing])
    return runs


def _width(thing: Thing) -> float:
    return SHAPES[thing.object].width * SCALES[thing.size]


def _sky(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """The canvas, filled with a vertical gradient."""
    column = Image.new("RGB", (1, 2))
    column.putdata(SKIES[scene.backdrop.time])
    gradient = column.resize((1, size[1]), Image.Resampling.BILINEAR, box=(0, 0.5, 1, 1.9))
    return gradient.resize(size, Image.Resampling.NEAREST)


def _draw_street(pen: Pen, scene: Scene, rng: random.Random) -> None:
    horizon = SKIES[scene.backdrop.time][1]
    for _ in range(rng.randrange(4) + (scene.backdrop.time == "overcast")):
        _draw_cloud(pen.at(rng.uniform(0, WIDTH), rng.uniform(40, 130), rng.uniform(0.6, 1.2)), shaded(horizon, 1.5))
    _draw_buildings(pen, shaded(horizon, 0.94), shaded(horizon, 0.985), rng)
    light = rng.uniform(0.95, 1.03)
    pavement, road = shaded(PAVEMENT, light), shaded(ROAD, light)
    ground = pen.at(0, HEIGHT)
    ground.box(0, 0, WIDTH, HEIGHT - PAVEMENT_Y, pavement)
    for x in range(int(rng.uniform(-40, 0)), WIDTH, 64):
        ground.stroke([(x, HEIGHT - ROAD_Y), (x + 22, HEIGHT - PAVEMENT_Y)], 2, shaded(pavement, 0.95))
    ground.box(0, 0, WIDTH, HEIGHT - ROAD_Y, road)
    ground.box(0, HEIGHT - ROAD_Y - 6, WIDTH, HEIGHT - ROAD_Y, shaded(pavement, 0.88))
    _draw_markings(ground, scene.backdrop.road, shaded(road, 1.45), rng)


def _draw_cloud(pen: Pen, color: Color) -> None:
    for x, y, radius in ((-44, 0, 20), (-16, 8, 27), (18, 6, 24), (44, -2, 17)):
        pen.disc(x, y, radius, color, stretch=0.75)


def _draw_buildings(pen: Pen, wall: Color, window: Color, rng: random.Random) -> None:
    """Pale outlines of the town: never as strong as anything that is asked about."""
    x = rng.uniform(-40, 0)
    while x < WIDTH:
        wide, high = rng.uniform(50, 110), rng.uniform(50, 150)
        block = pen.at(x, PAVEMENT_Y)
        block.box(0, 0, wide, high, wall)
        for column in range(int(wide // 24)):
            for row in range(int(high // 32)):
                block.box(10 + 22 * column, high - 26 - 30 * row, 20 + 22 * column, high - 10 - 30 * row, window)
        x += wide + rng.choice((0, 6, 30))


def _draw_markings(ground: Pen, road: str, color: Color, rng: random.Random) -> None:
    start = rng.uniform(-60, 0)
    if road == "dashed":
        for step in range(8):
            ground.box(start + step * 96, 20, start + step * 96 + 48, 27, color)
    elif road == "crossing":
        left = rng.uniform(40, 460)
        for step in range(5):
            x = left + step * 30
            ground.polygon([(x, 4), (x + 18, 4), (x + 22, 46), (x + 6, 46)], color)


def _draw_thing(pen: Pen, thing: Thing, x: float, rng: random.Random) -> None:
    tool, paint = _posed(pen, thing, x, rng)
    _draw_outlined(tool, SHAPES[thing.object], paint)


def _posed(pen: Pen, thing: Thing, x: float, rng: random.Random) -> tuple[Pen, Paint]:
    paint = _paint(thing.color, rng)
    ground = SHAPES[thing.object].ground + rng.uniform(-5, 5)
    return pen.at(x, ground, SCALES[thing.size], rng.choice((-1, 1))), paint


def _draw_passer(pen: Pen, passer: Passer, rng: random.Random) -> None:
    flip = 1 if passer.heading == "right" else -1
    y = LANE_Y + passer.across * (FAR_LANE_Y - LANE_Y)
    scale = SCALES["large"] + passer.across * (SCALES["small"] - SCALES["large"])
    tool = pen.at(passer.x * WIDTH, y, scale, flip)
    _draw_outlined(tool, SHAPES[passer.object], _paint(passer.color, rng))


def _draw_outlined(tool: Pen, shape: Shape, paint: Paint) -> None:
    shadow = shaded(ROAD if tool.y > ROAD_Y + 4 else PAVEMENT, 0.84)
    tool.disc(0, 1, shape.width * 0.47, shadow, stretch=0.13)
    shape.draw(tool.outlining(paint.edge, OUTLINE), paint)
    shape.draw(tool, paint)


def _paint(color: str, rng: random.Random) -> Paint:
    fill = shaded(PALETTE[color], rng.uniform(0.93, 1.07))
    return Paint(
        fill=fill,
        edge=PALE if color == "black" else DARK,
        ink=DARK if color in ("white", "yellow") else PALE,
        variant=rng.getrandbits(16),
    )
