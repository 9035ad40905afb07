"""Reads the outlines that a detector stored in the metadata of a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from florence_rag.types import Hit

Polygons = Sequence[Sequence[Sequence[float]]]
"""Outlines, each a list of points (x, y) in shares of the image."""


def polygons_of(hit: Hit) -> Polygons:
    """Return the outlines of a region; () for other hits, and if the metadata holds no valid outlines."""
    polygons: Any = hit.metadata.get("polygons") if hit.locator.box else ()
    return polygons if isinstance(polygons, list) and all(map(_is_outline, polygons)) else ()


def _is_outline(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 3 and all(map(_is_point, value))


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_share, value))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
