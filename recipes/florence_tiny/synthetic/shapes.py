"""The shape of each category: bold silhouettes that are mostly filled with the color of the object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recipes.florence_tiny.synthetic.canvas import Canvas, Color, shaded

DARK: Color = (44, 48, 62)
PALE: Color = (246, 248, 250)
GLASS: Color = (206, 228, 240)
STEEL: Color = (150, 154, 164)
BROWN: Color = (112, 78, 54)
SLATE: Color = (98, 92, 104)
SKINS: tuple[Color, ...] = ((241, 206, 178), (206, 156, 118), (140, 96, 70))
HAIR: tuple[Color, ...] = ((60, 46, 42), (110, 84, 62), (150, 146, 146))


@dataclass(frozen=True, slots=True)
class Paint:
    """The colors of an object: `ink` contrasts with `fill`, and `variant` is a number that selects small variations."""

    fill: Color
    edge: Color
    ink: Color
    variant: int

    @property
    def shade(self) -> Color:
        return shaded(self.fill, 0.78)

    @property
    def tint(self) -> Color:
        return shaded(self.fill, 1.22)


@dataclass(frozen=True, slots=True)
class Shape:
    """How to draw a category: `width` is that of a large object and `ground` its baseline, in units of the street."""

    draw: Callable[[Canvas, Paint], None]
    width: float
    ground: float


def _wheel(canvas: Canvas, x: float, radius: float) -> None:
    canvas.disc(x, radius, radius, DARK)
    canvas.disc(x, radius, radius * 0.45, STEEL)


def car(canvas: Canvas, paint: Paint) -> None:
    canvas.polygon([(-42, 40), (-28, 78), (20, 78), (42, 40)], paint.fill)
    canvas.box(-61, 14, 61, 48, paint.fill, 12)
    canvas.polygon([(-32, 46), (-22, 70), (-6, 70), (-6, 46)], GLASS)
    canvas.polygon([(2, 46), (2, 70), (16, 70), (31, 46)], GLASS)
    canvas.box(-61, 16, 61, 22, paint.shade, 3)
    canvas.disc(55, 37, 5, PALE)
    _wheel(canvas, -35, 18)
    _wheel(canvas, 35, 18)


def bus(canvas: Canvas, paint: Paint) -> None:
    canvas.box(-62, 14, 62, 132, paint.fill, 12)
    for left in (-54, -27, 0):
        canvas.box(left, 80, left + 22, 114, GLASS, 3)
    canvas.box(29, 28, 54, 114, GLASS, 3)
    canvas.box(40, 28, 43, 114, paint.fill)
    canvas.box(-62, 58, 27, 66, paint.tint)
    _wheel(canvas, -36, 19)
    _wheel(canvas, 18, 19)


def bicycle(canvas: Canvas, paint: Paint) -> None:
    rear, front, crank, seat, head = (-33, 29), (33, 29), (-3, 27), (-16, 70), (19, 72)
    for x, y in (rear, front):
        canvas.ring(x, y, 29, 9, paint.fill)
    canvas.stroke([rear, seat, crank, rear], 8, paint.fill)
    canvas.stroke([seat, head, crank], 10, paint.fill)
    canvas.stroke([front, head, (16, 88)], 9, paint.fill)
    canvas.stroke([(12, 92), (30, 92)], 7, DARK)
    canvas.stroke([(-26, 78), (-8, 78)], 9, DARK)


def person(canvas: Canvas, paint: Paint) -> None:
    skin = SKINS[paint.variant % len(SKINS)]
    for side in (-1, 1):
        canvas.stroke([(side * 10, 6), (side * 10, 50)], 14, SLATE)
        canvas.stroke([(side * 22, 118), (side * 32, 74)], 17, paint.shade)
        canvas.disc(side * 33, 64, 7, skin)
    canvas.polygon([(-20, 132), (20, 132), (32, 38), (-32, 38)], paint.fill)
    canvas.box(-1.5, 38, 1.5, 126, paint.shade)
    canvas.disc(0, 150, 21, skin)
    for x in (-7, 7):
        canvas.disc(x, 147, 3, DARK)
    canvas.half_disc(0, 153, 22, HAIR[paint.variant // 3 % len(HAIR)])


def dog(canvas: Canvas, paint: Paint) -> None:
    canvas.stroke([(-40, 56), (-50, 84)], 11, paint.fill)
    for x in (-34, -18, 14, 30):
        canvas.box(x - 7, 0, x + 7, 40, paint.fill, 5)
    canvas.box(-46, 28, 38, 66, paint.fill, 18)
    canvas.disc(34, 76, 22, paint.fill)
    canvas.box(34, 62, 64, 80, paint.fill, 8)
    canvas.polygon([(10, 92), (28, 96), (24, 58), (12, 62)], paint.shade)
    canvas.disc(61, 77, 5.5, paint.ink)
    canvas.disc(40, 84, 3.5, paint.ink)


def tree(canvas: Canvas, paint: Paint) -> None:
    canvas.box(-11, 0, 11, 110, BROWN, 2)
    for x, y, radius in ((-28, 118, 31), (28, 118, 31), (0, 162, 44), (0, 122, 40)):
        canvas.disc(x, y, radius, paint.fill)
    canvas.disc(-14, 172, 16, paint.tint)
    canvas.disc(30, 126, 10, paint.shade)


def house(canvas: Canvas, paint: Paint) -> None:
    canvas.box(24, 140, 40, 186, SLATE)
    canvas.box(-53, 0, 53, 122, paint.fill)
    canvas.polygon([(-63, 118), (0, 186), (63, 118)], SLATE)
    canvas.disc(0, 140, 10, GLASS)
    canvas.box(-13, 0, 13, 48, BROWN, 3)
    for x in (-44, 20):
        canvas.box(x, 66, x + 24, 98, PALE)
        canvas.box(x + 3, 69, x + 21, 95, GLASS)


def hydrant(canvas: Canvas, paint: Paint) -> None:
    canvas.box(-30, 0, 30, 14, paint.fill, 4)
    canvas.box(-36, 46, 36, 66, paint.shade, 5)
    canvas.box(-21, 10, 21, 82, paint.fill, 3)
    canvas.half_disc(0, 82, 24, paint.fill)
    canvas.box(-7, 100, 7, 114, paint.fill, 3)
    canvas.box(-26, 76, 26, 86, paint.shade, 3)
    canvas.disc(0, 50, 13, STEEL)
    canvas.disc(0, 50, 6, DARK)


def sign(canvas: Canvas, paint: Paint) -> None:
    canvas.box(-6, 0, 6, 120, STEEL)
    canvas.polygon([(-52, 148), (0, 204), (52, 148), (0, 92)], paint.fill)
    canvas.stroke([(-20, 146), (12, 146)], 9, paint.ink)
    canvas.polygon([(8, 128), (30, 146), (8, 164)], paint.ink)


ROADSIDE, KERB = 392.0, 422.0

SHAPES: dict[str, Shape] = {
    "car": Shape(car, 122, KERB),
    "bus": Shape(bus, 124, KERB),
    "bicycle": Shape(bicycle, 124, KERB - 12),
    "person": Shape(person, 82, ROADSIDE + 4),
    "dog": Shape(dog, 118, ROADSIDE + 4),
    "tree": Shape(tree, 118, ROADSIDE - 8),
    "house": Shape(house, 126, ROADSIDE - 8),
    "hydrant": Shape(hydrant, 74, ROADSIDE + 4),
    "sign": Shape(sign, 106, ROADSIDE - 2),
}
