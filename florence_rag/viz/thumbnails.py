"""Encodes images, hits and citations as small JPEGs. Browsers and chat models never receive a file itself."""

import base64
import io
import re
from typing import Protocol

import numpy as np
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.types import Box, Citation, Frame, Hit, middle_index
from florence_rag.viz.drawing import Polygons, heat_map, outline, polygons_of

SIDE_PX = 320
GAP_PX = 4
_DATA_URI = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


class FrameProvider(Protocol):
    """An object that loads the frames of hits, such as FlorenceRAG."""

    def get(self, ids: list[str], /) -> list[Hit]:
        """Return the stored chunks with these ids."""
        ...

    def frames(self, hit: Hit, /) -> tuple[Frame, ...]:
        """Return the frames of a hit, or raise MediaError if its file is missing or broken."""
        ...


def thumbnail(frame: Frame, box: Box | None = None, side_px: int = SIDE_PX) -> bytes:
    """Return a small JPEG of the frame, with the box drawn into it."""
    return to_jpeg(_shrink(Image.fromarray(frame), box, side_px))


def data_uri(frame: Frame, side_px: int = 1024) -> str:
    """Return the frame as a data URI of a JPEG."""
    return jpeg_uri(thumbnail(frame, side_px=side_px))


def from_data_uri(uri: str) -> bytes:
    """Return the JPEG of a data URI that `data_uri` wrote, or raise InputError."""
    found = _DATA_URI.fullmatch(uri)
    if found is None:
        raise InputError(f"{uri[:40]!r} is not a JPEG as a data URI")
    return base64.b64decode(found[1])


def thumbnail_of(
    rag: FrameProvider, result: Hit | Citation, side_px: int = SIDE_PX, weights: np.ndarray | None = None
) -> bytes | None:
    """Return a JPEG thumbnail: an image or a page with its box, a clip as three of its frames.

    Args:
        rag: The FlorenceRAG that the hit or citation comes from.
        result: The hit or citation.
        side_px: The largest width and height of each frame in the thumbnail.
        weights: A heat map (rows, columns) of the middle frame, which is drawn into it.

    Returns:
        The JPEG file; None for a passage of text, and if the file is missing.
    """
    hit, frames = _stored(rag, result)
    if hit is None or not frames:
        return _embedded_thumbnail(result, side_px)
    middle, images = middle_index(frames), []
    for position in sorted({0, middle, len(frames) - 1}):
        box = result.locator.box if position == middle else None
        image = Image.fromarray(frames[position])
        if weights is not None and position == middle:
            image = heat_map(frames[position], weights)
        images.append(_shrink(image, box, side_px, polygons_of(hit)))
    width = sum(image.width + GAP_PX for image in images) - GAP_PX
    strip = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + GAP_PX
    return to_jpeg(strip)


def _stored(rag: FrameProvider, result: Hit | Citation) -> tuple[Hit | None, tuple[Frame, ...]]:
    """Return the stored hit and its frames; (None, ()) if there are none."""
    try:
        hits = [result] if isinstance(result, Hit) else rag.get([result.id]) if result.id else []
        return (hits[0], rag.frames(hits[0])) if hits and hits[0].id else (None, ())
    except InputError:
        return None, ()


def _embedded_thumbnail(result: Hit | Citation, side_px: int) -> bytes | None:
    """Return the thumbnail that the citation of an image outside the index carries, re-encoded."""
    if not isinstance(result, Citation) or not result.thumbnail:
        return None
    with Image.open(io.BytesIO(from_data_uri(result.thumbnail)), formats=["JPEG"]) as image:
        return to_jpeg(_shrink(image.convert("RGB"), result.locator.box, side_px))


def _shrink(image: Image.Image, box: Box | None, side_px: int, polygons: Polygons = ()) -> Image.Image:
    image.thumbnail((side_px, side_px))
    if box is not None:
        outline(image, box, polygons=polygons)
    return image
