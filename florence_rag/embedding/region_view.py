"""Prepares a region of an image for an embedder."""

from collections.abc import Sequence

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.types import Box, Frame

MARGIN = 0.1
"""The margin around a box, as a fraction of its sides. Models recognize objects better with some surroundings."""


def check_box(box: Sequence[float]) -> Box:
    """Return a box of a caller as floats; one that is malformed, empty or outside the image is an InputError."""
    try:
        left, top, right, bottom = map(float, box)
    except (TypeError, ValueError) as error:
        raise InputError(f"box is {box!r}; give left, top, right, bottom as fractions of width and height") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(f"box is {box!r}; give 0 <= left < right <= 1 and 0 <= top < bottom <= 1")
    return left, top, right, bottom


def region_view(embedder: Embedder, frame: Frame, box: Box | None) -> Frame:
    """Return the part of an RGB image (H, W, 3) uint8 that an embedder reads; without a box, the whole image.

    It is a crop of the region with a margin. If the embedder was trained on whole scenes only, its capabilities ask for
    a masked image instead: a frame of the same size with the mean color outside the region.
    """
    if box is None:
        return frame
    left, top, right, bottom = box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    rows = _span(top - down, bottom + down, frame.shape[0])
    columns = _span(left - across, right + across, frame.shape[1])
    if embedder.capabilities.region_view != "masked":
        return np.ascontiguousarray(frame[rows, columns])
    view = np.empty_like(frame)
    view[:] = frame.mean(axis=(0, 1)).round().astype(np.uint8)
    view[rows, columns] = frame[rows, columns]
    return view


def _span(start: float, end: float, size: int) -> slice:
    """Return the pixels from start to end, given as fractions of the size; at least one."""
    first = min(max(int(start * size), 0), size - 1)
    return slice(first, max(min(int(np.ceil(end * size)), size), first + 1))
