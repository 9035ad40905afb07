"""The picture of a hit or a citation, small: an image or a page with its box, a clip as three of its frames."""

from __future__ import annotations

import io
from typing import Protocol

from PIL import Image

from florence_rag.errors import InputError
from florence_rag.show.pixels import from_data_uri, outline, to_jpeg
from florence_rag.types import Box, Citation, Frame, Hit

SIDE_PX = 320
GAP_PX = 4


class Album(Protocol):
    """Where pictures come from, as FlorenceRAG is."""

    def get(self, ids: list[str], /) -> list[Hit]:
        """The stored chunks with these ids."""
        ...

    def frames(self, hit: Hit, /) -> tuple[Frame, ...]:
        """The pictures of a hit. Raises MediaError where its file is gone or broken."""
        ...


def thumbnail_of(album: Album, found: Hit | Citation, side_px: int = SIDE_PX) -> bytes | None:
    """A JPEG, its parts at most side_px wide and high; None for a passage, and for what is gone since."""
    frames = frames_of(album, found)
    if not frames:
        return _carried(found, side_px)
    middle = len(frames) // 2
    chosen = sorted({0, middle, len(frames) - 1})
    return to_jpeg(_beside([_small(frames[i], found.locator.box if i == middle else None, side_px) for i in chosen]))


def frames_of(album: Album, found: Hit | Citation) -> tuple[Frame, ...]:
    """The pictures of what was found, by its id; () where there are none, or no longer."""
    try:
        hits = [found] if isinstance(found, Hit) else album.get([found.id]) if found.id else []
        return album.frames(hits[0]) if hits and hits[0].id else ()
    except InputError:
        return ()


def _carried(found: Hit | Citation, side_px: int) -> bytes | None:
    """What the citation of a picture that lies in no index brings along, drawn anew."""
    if not isinstance(found, Citation) or not found.thumbnail:
        return None
    with Image.open(io.BytesIO(from_data_uri(found.thumbnail)), formats=["JPEG"]) as picture:
        return to_jpeg(_shrunk(picture.convert("RGB"), found.locator.box, side_px))


def _small(frame: Frame, box: Box | None, side_px: int) -> Image.Image:
    return _shrunk(Image.fromarray(frame), box, side_px)


def _shrunk(picture: Image.Image, box: Box | None, side_px: int) -> Image.Image:
    picture.thumbnail((side_px, side_px))
    if box is not None:
        outline(picture, box)
    return picture


def _beside(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    strip = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + GAP_PX
    return strip
