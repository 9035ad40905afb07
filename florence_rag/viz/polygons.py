"""The outlines that a region of the index was given by its detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from florence_rag.types import Hit

Polygons = Sequence[Sequence[Sequence[float]]]
"""Each a line around an area: (x, y) points in [0, 1] of the picture."""


def polygons_of(hit: Hit) -> Polygons:
    """() of what is no region, and where there are none or metadata of that name says something else."""
    polygons: Any = hit.metadata.get("polygons") if hit.locator.box else ()
    return polygons if isinstance(polygons, list) and all(map(_is_outline, polygons)) else ()


def _is_outline(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 3 and all(map(_is_point, value))


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_share, value))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
