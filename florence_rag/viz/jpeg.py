"""Frames as small JPEGs: what a browser or a chat model is shown is always drawn anew from pixels, never a file."""

from __future__ import annotations

import base64
import re

from PIL import Image, ImageDraw

from florence_rag.errors import InputError
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.types import Box, Frame
from florence_rag.viz.polygons import Polygons

ACCENT = "#d1242f"
_DATA_URI = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def outline(picture: Image.Image, box: Box, color: str = ACCENT, polygons: Polygons = ()) -> None:
    """Draw a box, in [0, 1] of the picture, into it, or polygons where there are some."""
    width = max(2, picture.width // 120)
    for polygon in polygons:
        points = [(x * (picture.width - 1), y * (picture.height - 1)) for x, y in polygon]
        ImageDraw.Draw(picture).line([*points, points[0]], color, width, joint="curve")
    if polygons:
        return
    left, top, right, bottom = box
    corners = (left * picture.width, top * picture.height, right * picture.width - 1, bottom * picture.height - 1)
    if corners[2] >= corners[0] and corners[3] >= corners[1]:
        ImageDraw.Draw(picture).rectangle(corners, outline=color, width=width)


def scaled(picture: Image.Image, pixels: int) -> Image.Image:
    """At most so many pixels in all, in its shape; never enlarged."""
    factor = (pixels / (picture.width * picture.height)) ** 0.5
    if factor >= 1:
        return picture
    width = max(1, min(int(picture.width * factor), pixels))
    height = max(1, min(int(picture.height * factor), pixels // width))  # of a long strip a side may be cut to 1
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def thumbnail(frame: Frame, box: Box | None = None, side_px: int = 320) -> bytes:
    """A small JPEG of the frame, with the box drawn."""
    picture = Image.fromarray(frame)
    picture.thumbnail((side_px, side_px))
    if box is not None:
        outline(picture, box)
    return to_jpeg(picture)


def data_uri(frame: Frame, side_px: int = 1024) -> str:
    """The picture as text."""
    return jpeg_uri(thumbnail(frame, side_px=side_px))


def from_data_uri(uri: str) -> bytes:
    """What data_uri wrote; InputError for anything else."""
    found = _DATA_URI.fullmatch(uri)
    if found is None:
        raise InputError(f"{uri[:40]!r} is no JPEG as a data URI")
    return base64.b64decode(found[1])
