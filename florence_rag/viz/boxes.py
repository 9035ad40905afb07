"""Draws boxes or outlines with labels into a copy of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from florence_rag.types import Box, Frame
from florence_rag.viz.jpeg import outline
from florence_rag.viz.polygons import Polygons

COLORS = ("#d1242f", "#0969da", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#116329", "#57606a")
"""Colors dark enough for white text. Boxes with the same label have the same color."""


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """A box in shares of the image, with a label and a note; polygons are drawn instead of the box."""

    label: str
    box: Box
    note: str = ""
    polygons: Polygons = ()


def draw_boxes(frame: Frame, things: Iterable[LabeledBox]) -> Image.Image:
    """Return a copy of the frame with boxes; later boxes are drawn over earlier ones."""
    image = Image.fromarray(frame).convert("RGB")
    colors: dict[str, str] = {}
    for thing in things:
        color = colors.setdefault(thing.label, COLORS[len(colors) % len(COLORS)])
        outline(image, thing.box, color, thing.polygons)
        _write(image, thing, color)
    return image


def _write(image: Image.Image, thing: LabeledBox, color: str) -> None:
    """Write the label above the box, or inside it if there is no space above."""
    text = " ".join(f"{thing.label} {thing.note}".split())
    if not text:
        return
    draw, size = ImageDraw.Draw(image), max(11, image.height // 34)
    font = ImageFont.load_default(size)
    left, above = thing.box[0] * image.width, thing.box[1] * image.height
    right, bottom = draw.textbbox((0, 0), text, font=font)[2:]
    x = min(left, max(image.width - right - 6, 0))
    y = above - bottom - 5 if above >= bottom + 5 else above
    draw.rectangle((x, y, x + right + 5, y + bottom + 4), fill=color)
    draw.text((x + 3, y + 1), text, "#ffffff", font)
