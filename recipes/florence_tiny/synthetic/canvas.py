"""A pen that draws in the units of a 640x480 street, y upwards from the ground, on a canvas of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import ImageDraw

WIDTH, HEIGHT = 640, 480

Color = tuple[int, int, int]
Point = tuple[float, float]


def shaded(color: Color, factor: float) -> Color:
    """Darker for factor < 1, towards white for factor > 1 (2 is white)."""
    if factor <= 1:
        return tuple(round(value * factor) for value in color)  # type: ignore[return-value]
    return tuple(round(value + (255 - value) * (factor - 1)) for value in color)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Shapes in local units around an origin on the ground.

    zoom: canvas pixels a unit, across and down; they differ when the picture is squashed. x, y: the origin in units of
    the street, y downwards. scale: of the shapes; flip -1 mirrors them. When `edge` is set, every shape is
    drawn in that colour and wider by `grow`: the same drawing made twice gives an object an outline.
    """

    canvas: ImageDraw.ImageDraw
    zoom: tuple[float, float]
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    flip: int = 1
    grow: float = 0.0
    edge: Color | None = None

    def at(self, x: float, y: float, scale: float = 1.0, flip: int = 1) -> Canvas:
        return replace(self, x=x, y=y, scale=scale, flip=flip)

    def outlining(self, edge: Color, grow: float) -> Canvas:
        return replace(self, edge=edge, grow=grow)

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        pixels = [self._pixel(*point) for point in points]
        self.canvas.polygon(pixels, fill=self.edge or fill)
        if self.grow:
            self._line([*pixels, pixels[0], pixels[1]], 2 * self.grow, self.edge or fill)

    def box(self, left: float, bottom: float, right: float, top: float, fill: Color, radius: float = 0.0) -> None:
        corners = self._corners(left, bottom, right, top)
        if radius or self.grow:
            round_px = (radius * self.scale + self.grow) * min(self.zoom)
            self.canvas.rounded_rectangle(corners, round_px, fill=self.edge or fill)
        else:
            self.canvas.rectangle(corners, fill=self.edge or fill)

    def disc(self, x: float, y: float, radius: float, fill: Color, stretch: float = 1.0) -> None:
        """A filled circle; stretch makes it that much higher than wide."""
        high = radius * stretch
        self.canvas.ellipse(self._corners(x - radius, y - high, x + radius, y + high), fill=self.edge or fill)

    def cap(self, x: float, y: float, radius: float, fill: Color) -> None:
        """The upper half of a disc."""
        corners = self._corners(x - radius, y - radius, x + radius, y + radius)
        self.canvas.pieslice(corners, 180, 360, fill=self.edge or fill)

    def ring(self, x: float, y: float, radius: float, width: float, fill: Color) -> None:
        """A circle whose stroke of this width lies inside the radius."""
        corners = self._corners(x - radius, y - radius, x + radius, y + radius)
        self.canvas.ellipse(
            corners, outline=self.edge or fill, width=self._thickness(width * self.scale + 2 * self.grow)
        )

    def stroke(self, points: Sequence[Point], width: float, fill: Color) -> None:
        """A thick line with round ends."""
        pixels = [self._pixel(*point) for point in points]
        wide = width * self.scale + 2 * self.grow
        self._line(pixels, wide, self.edge or fill)
        across, down = wide / 2 * self.zoom[0], wide / 2 * self.zoom[1]
        for px, py in (pixels[0], pixels[-1]):
            self.canvas.ellipse((px - across, py - down, px + across, py + down), fill=self.edge or fill)

    def _line(self, pixels: Sequence[Any], width: float, fill: Color) -> None:
        self.canvas.line(pixels, fill=fill, width=self._thickness(width), joint="curve")

    def _thickness(self, units: float) -> int:
        return max(1, round(units * (self.zoom[0] + self.zoom[1]) / 2))

    def _pixel(self, x: float, y: float) -> Point:
        return (self.x + self.flip * x * self.scale) * self.zoom[0], (self.y - y * self.scale) * self.zoom[1]

    def _corners(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        """Canvas box (x0, y0, x1, y1) of a local box, grown."""
        x0, y0 = self._pixel(left, top)
        x1, y1 = self._pixel(right, bottom)
        wide, high = self.grow * self.zoom[0], self.grow * self.zoom[1]
        return min(x0, x1) - wide, y0 - high, max(x0, x1) + wide, y1 + high
