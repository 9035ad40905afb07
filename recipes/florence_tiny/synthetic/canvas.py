"""A canvas that takes coordinates of a 640x480 street, y upwards from the ground, and draws at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import ImageDraw

WIDTH, HEIGHT = 640, 480

Color = tuple[int, int, int]
Point = tuple[float, float]


def shaded(color: Color, factor: float) -> Color:
    """Return a darker color for factor < 1, and a lighter one for factor > 1 (2 is white)."""
    if factor <= 1:
        return tuple(round(value * factor) for value in color)  # type: ignore[return-value]
    return tuple(round(value + (255 - value) * (factor - 1)) for value in color)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Draws shapes in local units around an origin on the ground.

    Attributes:
        target: The drawing that receives the shapes.
        zoom: Pixels per unit, horizontally and vertically; they differ if the aspect ratio is not 4:3.
        x: Horizontal position of the origin in units of the street.
        y: Vertical position of the origin in units of the street, downwards.
        scale: Scale of the shapes.
        flip: -1 mirrors the shapes.
        grow: Widens every shape on all sides; with `edge` it draws the outline of an object.
        edge: Replaces the color of every shape if set.
    """

    target: ImageDraw.ImageDraw
    zoom: tuple[float, float]
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    flip: int = 1
    grow: float = 0.0
    edge: Color | None = None

    def at(self, x: float, y: float, scale: float = 1.0, flip: int = 1) -> Canvas:
        """Return a canvas with another origin."""
        return replace(self, x=x, y=y, scale=scale, flip=flip)

    def with_outline(self, edge: Color, grow: float) -> Canvas:
        """Return a canvas that draws every shape in the color of the edge, wider by `grow`."""
        return replace(self, edge=edge, grow=grow)

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        """Draw a filled polygon."""
        pixels = [self._pixel(*point) for point in points]
        self.target.polygon(pixels, fill=self.edge or fill)
        if self.grow:
            self._line([*pixels, pixels[0], pixels[1]], 2 * self.grow, self.edge or fill)

    def box(self, left: float, bottom: float, right: float, top: float, fill: Color, radius: float = 0.0) -> None:
        """Draw a filled rectangle, with round corners if a radius is given."""
        corners = self._corners(left, bottom, right, top)
        if radius or self.grow:
            round_px = (radius * self.scale + self.grow) * min(self.zoom)
            self.target.rounded_rectangle(corners, round_px, fill=self.edge or fill)
        else:
            self.target.rectangle(corners, fill=self.edge or fill)

    def disc(self, x: float, y: float, radius: float, fill: Color, stretch: float = 1.0) -> None:
        """Draw a filled circle; `stretch` is the ratio of its height to its width."""
        height = radius * stretch
        self.target.ellipse(self._corners(x - radius, y - height, x + radius, y + height), fill=self.edge or fill)

    def half_disc(self, x: float, y: float, radius: float, fill: Color) -> None:
        """Draw the upper half of a disc."""
        corners = self._corners(x - radius, y - radius, x + radius, y + radius)
        self.target.pieslice(corners, 180, 360, fill=self.edge or fill)

    def ring(self, x: float, y: float, radius: float, width: float, fill: Color) -> None:
        """Draw a circle line of this width inside the radius."""
        corners = self._corners(x - radius, y - radius, x + radius, y + radius)
        self.target.ellipse(
            corners, outline=self.edge or fill, width=self._thickness(width * self.scale + 2 * self.grow)
        )

    def stroke(self, points: Sequence[Point], width: float, fill: Color) -> None:
        """Draw a thick line with round ends."""
        pixels = [self._pixel(*point) for point in points]
        wide = width * self.scale + 2 * self.grow
        self._line(pixels, wide, self.edge or fill)
        across, down = wide / 2 * self.zoom[0], wide / 2 * self.zoom[1]
        for px, py in (pixels[0], pixels[-1]):
            self.target.ellipse((px - across, py - down, px + across, py + down), fill=self.edge or fill)

    def _line(self, pixels: Sequence[Any], width: float, fill: Color) -> None:
        self.target.line(pixels, fill=fill, width=self._thickness(width), joint="curve")

    def _thickness(self, units: float) -> int:
        return max(1, round(units * (self.zoom[0] + self.zoom[1]) / 2))

    def _pixel(self, x: float, y: float) -> Point:
        return (self.x + self.flip * x * self.scale) * self.zoom[0], (self.y - y * self.scale) * self.zoom[1]

    def _corners(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        """Return the box in pixels (x0, y0, x1, y1) of a local box, widened by `grow`."""
        x0, y0 = self._pixel(left, top)
        x1, y1 = self._pixel(right, bottom)
        wide, high = self.grow * self.zoom[0], self.grow * self.zoom[1]
        return min(x0, x1) - wide, y0 - high, max(x0, x1) + wide, y1 + high
