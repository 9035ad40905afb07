"""A canvas that keeps no picture, only how far the shapes on it reach."""

from __future__ import annotations

from typing import Any

from PIL import ImageDraw

from florence_rag.types import Box


class BBoxRecorder(ImageDraw.ImageDraw):
    """Takes what a Pen draws. Its unit is that of the pen's zoom: (1 / WIDTH, 1 / HEIGHT) for shares of the picture."""

    def __init__(self) -> None:
        self._xs: list[float] = []
        self._ys: list[float] = []

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of all shapes, cut to [0, 1]."""
        left, top, right, bottom = (
            min(max(edge, 0.0), 1.0) for edge in (min(self._xs), min(self._ys), max(self._xs), max(self._ys))
        )
        return left, top, right, bottom

    def polygon(self, xy: Any, *_: Any, **__: Any) -> None:
        """All corners."""
        self._xs += [x for x, _ in xy]
        self._ys += [y for _, y in xy]

    def line(self, xy: Any, *_: Any, **__: Any) -> None:
        """The middle of the line only: its thickness is in whole pixels, which are not known here."""
        self.polygon(xy)

    def rectangle(self, xy: Any, *_: Any, **__: Any) -> None:
        """Also of rounded corners, and of ellipses, which touch all four sides."""
        left, top, right, bottom = xy
        self.polygon([(left, top), (right, bottom)])

    def pieslice(self, xy: Any, *_: Any, **__: Any) -> None:
        """The upper half, the only one that is drawn."""
        left, top, right, bottom = xy
        self.polygon([(left, top), (right, (top + bottom) / 2)])

    rounded_rectangle = ellipse = rectangle
