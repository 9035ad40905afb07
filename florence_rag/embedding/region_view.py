"""Shows an embedder a region of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.types import Box, Frame

MARGIN = 0.1
"""How much is shown around a box, as a share of its sides. Models recognize objects better with some surroundings."""


def check_box(box: Sequence[float]) -> Box:
    """Check a box that a caller gives.

    Args:
        box: Left, top, right, bottom in [0, 1] of the image.

    Returns:
        The box as floats.

    Raises:
        InputError: If it is no box, lies outside the image, or is empty.
    """
    try:
        left, top, right, bottom = map(float, box)
    except (TypeError, ValueError) as error:
        raise InputError(f"box is {box!r}; give left, top, right, bottom as shares of the image") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(f"box is {box!r}; give 0 <= left < right <= 1 and 0 <= top < bottom <= 1, as shares")
    return left, top, right, bottom


def region_view(embedder: Embedder, frame: Frame, box: Box | None) -> Frame:
    """Return what to show an embedder of an image.

    Args:
        embedder: Its capabilities say how it is best shown a region.
        frame: (H, W, 3) uint8 RGB.
        box: The region; None for the whole image.

    Returns:
        The whole frame; the region with a margin, cut out; or, for embedders that were trained on whole scenes only, a
        frame of the same size with the region in place and its mean color everywhere else.
    """
    if box is None:
        return frame
    rows, columns = _pixels(frame, box)
    if embedder.capabilities.region_view != "in place":
        return np.ascontiguousarray(frame[rows, columns])
    view = np.empty_like(frame)
    view[:] = frame.mean(axis=(0, 1)).round().astype(np.uint8)
    view[rows, columns] = frame[rows, columns]
    return view


def _pixels(frame: Frame, box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a box with its margin, at least one of each."""
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    return _span(top - down, bottom + down, height), _span(left - across, right + across, width)


def _span(start: float, end: float, size: int) -> slice:
    first = min(max(int(start * size), 0), size - 1)
    return slice(first, max(min(int(np.ceil(end * size)), size), first + 1))
