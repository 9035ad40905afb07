"""Regions: objects that a detector finds in an image become chunks of their own, each with its own vector.

A region is a chunk of kind "image" whose locator has a box. Its frame is that of the whole image, so that the region
can be shown in context; only the part inside the box is embedded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from florence_rag.perception.base import Detection, Detector
from florence_rag.types import Box, Chunk

MAX_REGIONS = 50
"""The most regions per image; those with the highest confidence are indexed."""
MAX_POINTS = 1000
"""The most points in the polygons of a region."""
_DIGITS = 4


def is_region(chunk: Chunk) -> bool:
    """Return whether a chunk is a region of an image."""
    return chunk.kind == "image" and chunk.locator.box is not None


def with_regions(detector: Detector, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return the chunks, and after each whole image its regions."""
    images = [chunk for chunk in chunks if chunk.kind == "image" and not is_region(chunk) and chunk.frames]
    found = dict(zip(map(id, images), detector.detect([chunk.frames[0] for chunk in images]), strict=True))
    return [each for chunk in chunks for each in (chunk, *_regions_of(chunk, found.get(id(chunk), ())))]


def _regions_of(image: Chunk, detections: Iterable[Detection]) -> list[Chunk]:
    """Return one region per box, since two chunks with the same box would have the same id."""
    regions: dict[Box, Chunk] = {}
    for detection in sorted(detections, key=lambda each: -(each.confidence or 0.0)):
        box = cast(Box, tuple(map(_clipped, detection.box)))
        if box[0] < box[2] and box[1] < box[3] and box not in regions and len(regions) < MAX_REGIONS:
            regions[box] = _region(image, detection, box)
    return list(regions.values())


def _region(image: Chunk, detection: Detection, box: Box) -> Chunk:
    """Return the chunk of a detection.

    The label is metadata rather than text: it says less than the vector, and the same of all objects of its class.
    """
    metadata: dict[str, Any] = dict(image.metadata)
    if detection.label:
        metadata["label"] = detection.label
    if detection.confidence is not None:
        metadata["confidence"] = round(detection.confidence, _DIGITS)
    if detection.polygons:
        # A row has limited space, so the polygons are thinned evenly.
        step = -(-sum(map(len, detection.polygons)) // MAX_POINTS)
        thinned = ([[_clipped(x), _clipped(y)] for x, y in polygon[::step]] for polygon in detection.polygons)
        metadata["polygons"] = [polygon for polygon in thinned if len(polygon) >= 3]
    return replace(image, locator=replace(image.locator, box=box), ocr="", caption="", text="", metadata=metadata)


def _clipped(edge: float) -> float:
    """Clip and round a coordinate, so that it is equal on every machine, because ids depend on it."""
    return round(min(max(float(edge), 0.0), 1.0), _DIGITS)
