"""A picture with the boxes or outlines of what was found in it, each with its label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from florence_rag.types import Box, Frame
from florence_rag.viz.jpeg import outline
from florence_rag.viz.polygons import Polygons

COLORS = ("#d1242f", "#0969da", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#116329", "#57606a")
"""Dark enough for white letters. Things of one label have one colour."""


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """A box in [0, 1] of the picture, and the words over it. polygons: are drawn in place of the box."""

    label: str
    box: Box
    note: str = ""
    polygons: Polygons = ()


def draw_boxes(frame: Frame, things: Iterable[LabeledBox]) -> Image.Image:
    """The frame as a new picture, with the boxes of the things; what comes later is drawn over what came before."""
    picture = Image.fromarray(frame).convert("RGB")
    colors: dict[str, str] = {}
    for thing in things:
        color = colors.setdefault(thing.label, COLORS[len(colors) % len(COLORS)])
        outline(picture, thing.box, color, thing.polygons)
        _write(picture, thing, color)
    return picture


def _write(picture: Image.Image, thing: LabeledBox, color: str) -> None:
    """On a strip over the box, or inside it where there is no room above."""
    words = " ".join(f"{thing.label} {thing.note}".split())
    if not words:
        return
    draw, size = ImageDraw.Draw(picture), max(11, picture.height // 34)
    font = ImageFont.load_default(size)
    left, above = thing.box[0] * picture.width, thing.box[1] * picture.height
    right, bottom = draw.textbbox((0, 0), words, font=font)[2:]
    x = min(left, max(picture.width - right - 6, 0))
    y = above - bottom - 5 if above >= bottom + 5 else above
    draw.rectangle((x, y, x + right + 5, y + bottom + 4), fill=color)
    draw.text((x + 3, y + 1), words, "#ffffff", font)
