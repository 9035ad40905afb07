"""Regions: what a detector finds in a picture becomes chunks of their own beside it, each with its own vector.

A region is a chunk of kind "image" whose locator has a box. Its frames are those of the whole picture, so that it can
be shown and asked about where it stands; what is embedded is the part that the box shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.perception.base import Detection, Detector
from florence_rag.types import Box, Chunk, Frame

MARGIN = 0.1
"""What is shown around a box, as a share of its sides: models tell things better with a little of what is around."""
MOST = 50
"""The most regions of one picture; the surest stay."""
MOST_POINTS = 1000
"""Of the outlines of a region."""
_DIGITS = 4


def is_region(chunk: Chunk) -> bool:
    """Whether it is a part of a picture."""
    return chunk.kind == "image" and chunk.locator.box is not None


def with_regions(detector: Detector, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks, and after each whole image its regions."""
    images = [chunk for chunk in chunks if chunk.kind == "image" and not is_region(chunk) and chunk.frames]
    found = dict(zip(map(id, images), detector.detect([chunk.frames[0] for chunk in images]), strict=True))
    return [each for chunk in chunks for each in (chunk, *_regions_of(chunk, found.get(id(chunk), ())))]


def _regions_of(chunk: Chunk, regions: Iterable[Detection]) -> list[Chunk]:
    """One for each box: two things with one box would be one chunk."""
    surest = sorted(regions, key=lambda region: -(region.confidence or 0.0))
    chunks: dict[Box, Chunk] = {}
    for region in surest:
        box = _rounded(region.box)
        if box[0] < box[2] and box[1] < box[3] and box not in chunks and len(chunks) < MOST:
            chunks[box] = _region_chunk(chunk, region, box)
    return list(chunks.values())


def _region_chunk(chunk: Chunk, region: Detection, box: Box) -> Chunk:
    """The label is in the metadata, not among the words: it says less than the vector, and equally of all its kind."""
    confidence = {} if region.confidence is None else {"confidence": round(region.confidence, _DIGITS)}
    label = {"label": region.label} if region.label else {}
    outlines = {"polygons": _outlines(region.polygons)} if region.polygons else {}
    metadata = {**chunk.metadata, **label, **confidence, **outlines}
    return replace(chunk, locator=replace(chunk.locator, box=box), ocr="", caption="", text="", metadata=metadata)


def _outlines(polygons: Sequence[Sequence[tuple[float, float]]]) -> list[list[list[float]]]:
    """JSON-ready, evenly thinned to MOST_POINTS: a row has room for so much."""
    step = -(-sum(map(len, polygons)) // MOST_POINTS)
    thinned = ([[_share(x), _share(y)] for x, y in outline[::step]] for outline in polygons)
    return [outline for outline in thinned if len(outline) >= 3]


def _rounded(box: Box) -> Box:
    """Equal on every machine, as ids follow from it."""
    left, top, right, bottom = map(_share, box)
    return left, top, right, bottom


def _share(edge: float) -> float:
    return round(min(max(float(edge), 0.0), 1.0), _DIGITS)


def checked_box(box: Sequence[float]) -> Box:
    """(left, top, right, bottom) in [0, 1], with something inside; InputError otherwise."""
    try:
        left, top, right, bottom = map(float, box)
    except (TypeError, ValueError) as error:
        raise InputError(f"box is {box!r}; give left, top, right, bottom as shares of the picture") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(f"box is {box!r}; give 0 <= left < right <= 1 and 0 <= top < bottom <= 1, as shares")
    return left, top, right, bottom


def region_view(embedder: Embedder, frame: Frame, box: Box | None) -> Frame:
    """What an embedder is shown of a picture: all of it, or a part in the way that suits it.

    "in place" leaves the part where it stands and fills the rest with the mean colour, for embedders that were taught
    whole scenes only (they say so by their region_view); otherwise it is cut out.
    """
    if box is None:
        return frame
    rows, columns = _pixels(frame, box)
    if embedder.capabilities.region_view != "in place":
        return np.ascontiguousarray(frame[rows, columns])
    alone = np.empty_like(frame)
    alone[:] = frame.mean(axis=(0, 1)).round().astype(np.uint8)
    alone[rows, columns] = frame[rows, columns]
    return alone


def _pixels(frame: Frame, box: Box) -> tuple[slice, slice]:
    """The rows and columns of a box with its margin, at least one of each."""
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    return _span(top - down, bottom + down, height), _span(left - across, right + across, width)


def _span(start: float, end: float, size: int) -> slice:
    first = min(max(int(start * size), 0), size - 1)
    return slice(first, max(min(int(np.ceil(end * size)), size), first + 1))
