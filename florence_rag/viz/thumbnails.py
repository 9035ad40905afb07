"""The picture of a hit or a citation, small: an image or a page with its box, a clip as three of its frames."""

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
    """Where pictures come from, as FlorenceRAG is."""

    def get(self, ids: list[str], /) -> list[Hit]:
        """The stored chunks with these ids."""
        ...

    def frames(self, hit: Hit, /) -> tuple[Frame, ...]:
        """The pictures of a hit. Raises MediaError where its file is gone or broken."""
        ...


def thumbnail_of(album: FrameProvider, found: Hit | Citation, side_px: int = SIDE_PX) -> bytes | None:
    """A JPEG, its parts at most side_px wide and high; None for a passage, and for what is gone since."""
    hit, frames = _stored(album, found)
    if hit is None or not frames:
        return _carried(found, side_px)
    middle = middle_index(frames)
    boxes = {middle: found.locator.box}
    chosen = sorted({0, middle, len(frames) - 1})
    pictures = [_shrunk(Image.fromarray(frames[i]), boxes.get(i), side_px, polygons_of(hit)) for i in chosen]
    return to_jpeg(_beside(pictures))


def _stored(album: FrameProvider, found: Hit | Citation) -> tuple[Hit | None, tuple[Frame, ...]]:
    """What was found and its pictures, by its id; none where there are none, or no longer."""
    try:
        hits = [found] if isinstance(found, Hit) else album.get([found.id]) if found.id else []
        return (hits[0], album.frames(hits[0])) if hits and hits[0].id else (None, ())
    except InputError:
        return None, ()


def _carried(found: Hit | Citation, side_px: int) -> bytes | None:
    """What the citation of a picture that lies in no index brings along, drawn anew."""
    if not isinstance(found, Citation) or not found.thumbnail:
        return None
    with Image.open(io.BytesIO(from_data_uri(found.thumbnail)), formats=["JPEG"]) as picture:
        return to_jpeg(_shrunk(picture.convert("RGB"), found.locator.box, side_px))


def _shrunk(picture: Image.Image, box: Box | None, side_px: int, polygons: Polygons = ()) -> Image.Image:
    picture.thumbnail((side_px, side_px))
    if box is not None:
        outline(picture, box, polygons=polygons)
    return picture


def _beside(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    strip = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + GAP_PX
    return strip
