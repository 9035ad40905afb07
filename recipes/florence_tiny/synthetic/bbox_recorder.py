"""A drawing without pixels that records the bounding box of the shapes."""

from __future__ import annotations

from typing import Any

from PIL import ImageDraw

from florence_rag.types import Box


class BBoxRecorder(ImageDraw.ImageDraw):
    """Receives the shapes of a Canvas; with a zoom of (1 / WIDTH, 1 / HEIGHT) the coordinates are in [0, 1]."""

    def __init__(self) -> None:
        self._xs: list[float] = []
        self._ys: list[float] = []

    @property
    def box(self) -> Box:
        """The box around all shapes, xyxy, clipped to [0, 1]."""
        left, top, right, bottom = (
            min(max(edge, 0.0), 1.0) for edge in (min(self._xs), min(self._ys), max(self._xs), max(self._ys))
        )
        return left, top, right, bottom

    def polygon(self, xy: Any, *_: Any, **__: Any) -> None:
        """Record all corners."""
        self._xs += [x for x, _ in xy]
        self._ys += [y for _, y in xy]

    def line(self, xy: Any, *_: Any, **__: Any) -> None:
        """Record the middle of the line: its thickness is in whole pixels of a size that is unknown."""
        self.polygon(xy)

    def rectangle(self, xy: Any, *_: Any, **__: Any) -> None:
        """Record the corners; also used for rounded rectangles, and for ellipses, which touch all four sides."""
        left, top, right, bottom = xy
        self.polygon([(left, top), (right, bottom)])

    def pieslice(self, xy: Any, *_: Any, **__: Any) -> None:
        """Record the upper half, which is the only one that is drawn."""
        left, top, right, bottom = xy
        self.polygon([(left, top), (right, (top + bottom) / 2)])

    rounded_rectangle = ellipse = rectangle
