"""Draws hits as one picture: for people a row for each query, with words; for chat models a grid of numbered tiles."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from florence_rag.errors import InputError
from florence_rag.types import Frame, Hit
from florence_rag.viz.jpeg import outline, scaled
from florence_rag.viz.polygons import polygons_of

PAPER, INK, GRAY, MOUNT = "#ffffff", "#1f2328", "#6e7781", "#f0f2f4"
PICTURE = (240, 180)
QUERY = (60, 44)
GAP = 20
LINE_HEIGHT = 18
MIN_TILE, MAX_TILE = 48, 384
CAPTION_WIDTH = 36
"""In characters: what fits under a picture in the small font."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One hit on the sheet. frame: its picture, or None for a passage, whose words are shown instead."""

    hit: Hit
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What one query found. query: the picture that was searched with, if any."""

    title: str
    cells: Sequence[Cell]
    query: Frame | None = None


def hits_to_row(
    title: str, hits: Sequence[Hit], load_frames: Callable[[Hit], tuple[Frame, ...]], query: Frame | None = None
) -> Row:
    """A row of hits, each with its first picture. A file that is gone since it was indexed gets an empty mount."""
    return Row(title, [Cell(hit, _first_frame(hit, load_frames)) for hit in hits], query)


def draw_sheet(rows: Sequence[Row]) -> Image.Image:
    """The rows below each other, as wide as the longest."""
    columns = max((len(row.cells) for row in rows), default=0) or 1
    width = columns * (PICTURE[0] + GAP) + GAP
    strips = [_draw_row(row, width) for row in rows]
    sheet = Image.new("RGB", (width, GAP + sum(strip.height for strip in strips)), PAPER)
    top = GAP
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def draw_tiles(tiles: Sequence[tuple[int, Frame]], pixels: int) -> Image.Image:
    """The frames side by side and below each other, each with its number in a corner, in at most so many pixels."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    side = max(MIN_TILE, min(MAX_TILE, math.isqrt(pixels // (columns * rows))))
    sheet = Image.new("RGB", (columns * side, rows * side), PAPER)
    for place, (number, frame) in enumerate(tiles):
        corner = (place % columns * side, place // columns * side)
        sheet.paste(_tile(number, frame, side), corner)
    return scaled(sheet, pixels)


def _tile(number: int, frame: Frame, side: int) -> Image.Image:
    tile = ImageOps.pad(Image.fromarray(frame), (side, side), Image.Resampling.LANCZOS, MOUNT)
    draw, font = ImageDraw.Draw(tile), _font(max(12, side // 8))
    _, _, right, bottom = draw.textbbox((4, 2), str(number), font=font)
    draw.rectangle((0, 0, right + 5, bottom + 4), fill=INK)
    draw.text((4, 2), str(number), PAPER, font)
    draw.rectangle((0, 0, side - 1, side - 1), outline=PAPER)
    return tile


def _draw_row(row: Row, width: int) -> Image.Image:
    captions = [_caption(cell.hit) for cell in row.cells]
    lines = 1 + max(map(len, captions), default=0)
    strip = Image.new("RGB", (width, QUERY[1] + PICTURE[1] + lines * LINE_HEIGHT + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    left = GAP
    if row.query is not None:
        strip.paste(ImageOps.pad(Image.fromarray(row.query), QUERY, color=MOUNT), (GAP, 0))
        left += QUERY[0] + GAP // 2
    draw.text((left, QUERY[1] // 2), _fitted(row.title, width - left - GAP, _font(20)), INK, _font(20), anchor="lm")
    for rank, (cell, caption) in enumerate(zip(row.cells, captions, strict=True), start=1):
        x, y = GAP + (rank - 1) * (PICTURE[0] + GAP), QUERY[1] + GAP // 2
        strip.paste(_thumbnail(cell), (x, y))
        _write_caption(draw, (x, y + PICTURE[1] + 6), rank, cell.hit, caption)
    return strip


def _first_frame(hit: Hit, load_frames: Callable[[Hit], tuple[Frame, ...]]) -> Frame | None:
    try:
        return next(iter(load_frames(hit)), None)
    except InputError:
        return None


def _thumbnail(cell: Cell) -> Image.Image:
    if cell.frame is None:
        return _passage(cell.hit.content)
    picture = Image.fromarray(cell.frame)
    if cell.hit.locator.box:
        outline(picture, cell.hit.locator.box, polygons=polygons_of(cell.hit))
    return ImageOps.pad(picture, PICTURE, Image.Resampling.LANCZOS, MOUNT)


def _passage(words: str) -> Image.Image:
    card = Image.new("RGB", PICTURE, MOUNT)
    lines = textwrap.wrap(words, 30, max_lines=8, placeholder=" …")
    ImageDraw.Draw(card).multiline_text((14, 14), "\n".join(lines), INK, _font(14), spacing=5)
    return card


def _caption(hit: Hit) -> list[str]:
    """Why the hit was found, and the words known of its picture."""
    words = hit.caption or hit.ocr
    return [
        line
        for text in (hit.explanation, words)
        for line in textwrap.wrap(text, CAPTION_WIDTH, max_lines=2, placeholder=" …")
    ]


def _write_caption(draw: ImageDraw.ImageDraw, corner: tuple[int, int], rank: int, hit: Hit, caption: list[str]) -> None:
    x, y = corner
    score = f"{hit.score:.3f}"
    place = ", ".join(part for part in (Path(hit.source).name, str(hit.locator)) if part)
    room = PICTURE[0] - round(_font(13).getlength(score)) - 8
    draw.text((x, y), _fitted(f"{rank}. {place}", room, _font(14)), INK, _font(14))
    draw.text((x + PICTURE[0], y), score, GRAY, _font(13), anchor="ra")
    for number, line in enumerate(caption, start=1):
        draw.text((x, y + number * LINE_HEIGHT), _fitted(line, PICTURE[0], _font(13)), GRAY, _font(13))


def _fitted(line: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The line, cut with an ellipsis where it is wider than the pixels it has."""
    line = " ".join(line.split())[:width]  # no character is narrower than a pixel
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # every wheel of Pillow has FreeType
    return font
