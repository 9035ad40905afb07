"""Draws thumbnails of hits and citations: an image or a page with its box, a clip as three of its frames."""

from __future__ import annotations

import io
from typing import Protocol

from PIL import Image

from florence_rag.errors import InputError
from florence_rag.jpeg import to_jpeg
from florence_rag.types import Box, Citation, Frame, Hit, middle_index
from florence_rag.viz.jpeg import from_data_uri, outline
from florence_rag.viz.polygons import Polygons, polygons_of

SIDE_PX = 320
GAP_PX = 4


class FrameProvider(Protocol):
    """An object that loads the frames of hits, such as FlorenceRAG."""

    def get(self, ids: list[str], /) -> list[Hit]:
        """Return the stored chunks with these ids."""
        ...

    def frames(self, hit: Hit, /) -> tuple[Frame, ...]:
        """Return the frames of a hit, or raise MediaError if its file is missing or broken."""
        ...


def thumbnail_of(album: FrameProvider, found: Hit | Citation, side_px: int = SIDE_PX) -> bytes | None:
    """Return a JPEG thumbnail.

    Args:
        album: The FlorenceRAG that the hit or citation comes from.
        found: The hit or citation.
        side_px: The largest width and height of each frame in the thumbnail.

    Returns:
        The JPEG file; None for a passage of text, and if the file is missing.
    """
    hit, frames = _stored(album, found)
    if hit is None or not frames:
        return _embedded_thumbnail(found, side_px)
    middle = middle_index(frames)
    boxes = {middle: found.locator.box}
    chosen = sorted({0, middle, len(frames) - 1})
    images = [_shrink(Image.fromarray(frames[i]), boxes.get(i), side_px, polygons_of(hit)) for i in chosen]
    return to_jpeg(_join(images))


def _stored(album: FrameProvider, found: Hit | Citation) -> tuple[Hit | None, tuple[Frame, ...]]:
    """Return the stored hit and its frames; (None, ()) if there are none."""
    try:
        hits = [found] if isinstance(found, Hit) else album.get([found.id]) if found.id else []
        return (hits[0], album.frames(hits[0])) if hits and hits[0].id else (None, ())
    except InputError:
        return None, ()


def _embedded_thumbnail(found: Hit | Citation, side_px: int) -> bytes | None:
    """Return the thumbnail that the citation of an image outside the index carries, re-encoded."""
    if not isinstance(found, Citation) or not found.thumbnail:
        return None
    with Image.open(io.BytesIO(from_data_uri(found.thumbnail)), formats=["JPEG"]) as image:
        return to_jpeg(_shrink(image.convert("RGB"), found.locator.box, side_px))


def _shrink(image: Image.Image, box: Box | None, side_px: int, polygons: Polygons = ()) -> Image.Image:
    image.thumbnail((side_px, side_px))
    if box is not None:
        outline(image, box, polygons=polygons)
    return image


def _join(images: list[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + GAP_PX * (len(images) - 1)
    strip = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + GAP_PX
    return strip
