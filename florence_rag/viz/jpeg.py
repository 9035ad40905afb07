"""Encodes frames as small JPEGs. Browsers and chat models get re-encoded pixels, never a file itself."""

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


def outline(image: Image.Image, box: Box, color: str = ACCENT, polygons: Polygons = ()) -> None:
    """Draw a box, in shares of the image, into the image; if there are polygons, draw them instead."""
    width = max(2, image.width // 120)
    for polygon in polygons:
        points = [(x * (image.width - 1), y * (image.height - 1)) for x, y in polygon]
        ImageDraw.Draw(image).line([*points, points[0]], color, width, joint="curve")
    if polygons:
        return
    left, top, right, bottom = box
    corners = (left * image.width, top * image.height, right * image.width - 1, bottom * image.height - 1)
    if corners[2] >= corners[0] and corners[3] >= corners[1]:
        ImageDraw.Draw(image).rectangle(corners, outline=color, width=width)


def scaled(image: Image.Image, pixels: int) -> Image.Image:
    """Return the image in its aspect ratio with at most this many pixels; it is never enlarged."""
    factor = (pixels / (image.width * image.height)) ** 0.5
    if factor >= 1:
        return image
    width = max(1, min(int(image.width * factor), pixels))
    height = max(1, min(int(image.height * factor), pixels // width))  # a side of a long strip may become 1
    return image.resize((width, height), Image.Resampling.LANCZOS)


def thumbnail(frame: Frame, box: Box | None = None, side_px: int = 320) -> bytes:
    """Return a small JPEG of the frame, with the box drawn into it."""
    image = Image.fromarray(frame)
    image.thumbnail((side_px, side_px))
    if box is not None:
        outline(image, box)
    return to_jpeg(image)


def data_uri(frame: Frame, side_px: int = 1024) -> str:
    """Return the frame as a data URI of a JPEG."""
    return jpeg_uri(thumbnail(frame, side_px=side_px))


def from_data_uri(uri: str) -> bytes:
    """Return the JPEG of a data URI that `data_uri` wrote, or raise InputError."""
    found = _DATA_URI.fullmatch(uri)
    if found is None:
        raise InputError(f"{uri[:40]!r} is not a JPEG as a data URI")
    return base64.b64decode(found[1])
