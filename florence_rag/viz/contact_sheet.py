"""Draws hits into one image: for people a row per query, for chat models a grid of numbered tiles."""

import math
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from florence_rag.errors import InputError
from florence_rag.types import Frame, Hit
from florence_rag.viz.drawing import outline, polygons_of, scaled

PAPER, INK, GRAY, MOUNT = "#ffffff", "#1f2328", "#6e7781", "#f0f2f4"
CELL_SIZE = (240, 180)
QUERY_SIZE = (60, 44)
GAP = 20
LINE_HEIGHT = 18
MIN_TILE, MAX_TILE = 48, 384
CAPTION_WIDTH = 36
"""Characters that fit under an image in the small font."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One hit on the sheet, with its frame; without a frame, the text of the hit is drawn."""

    hit: Hit
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The hits of one query, with the image that was searched with, if any."""

    title: str
    cells: Sequence[Cell]
    query: Frame | None = None


def hits_to_row(
    title: str, hits: Sequence[Hit], load_frames: Callable[[Hit], tuple[Frame, ...]], query: Frame | None = None
) -> Row:
    """Return a row of hits, each with its first frame. A hit whose file is missing is drawn without an image."""
    cells = []
    for hit in hits:
        frame = None
        with suppress(InputError):
            frame = next(iter(load_frames(hit)), None)
        cells.append(Cell(hit, frame))
    return Row(title, cells, query)


def draw_sheet(rows: Sequence[Row]) -> Image.Image:
    """Draw the rows below each other."""
    columns = max((len(row.cells) for row in rows), default=0) or 1
    width = columns * (CELL_SIZE[0] + GAP) + GAP
    strips = [_draw_row(row, width) for row in rows]
    sheet = Image.new("RGB", (width, GAP + sum(strip.height for strip in strips)), PAPER)
    top = GAP
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def draw_tiles(tiles: Sequence[tuple[int, Frame]], pixels: int) -> Image.Image:
    """Draw frames as a grid of at most this many pixels, each with its number in a corner."""
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
    strip = Image.new("RGB", (width, QUERY_SIZE[1] + CELL_SIZE[1] + lines * LINE_HEIGHT + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    left = GAP
    if row.query is not None:
        strip.paste(ImageOps.pad(Image.fromarray(row.query), QUERY_SIZE, color=MOUNT), (GAP, 0))
        left += QUERY_SIZE[0] + GAP // 2
    draw.text((left, QUERY_SIZE[1] // 2), _fit(row.title, width - left - GAP, _font(20)), INK, _font(20), anchor="lm")
    for rank, (cell, caption) in enumerate(zip(row.cells, captions, strict=True), start=1):
        x, y = GAP + (rank - 1) * (CELL_SIZE[0] + GAP), QUERY_SIZE[1] + GAP // 2
        strip.paste(_thumbnail(cell), (x, y))
        _write_caption(draw, (x, y + CELL_SIZE[1] + 6), rank, cell.hit, caption)
    return strip


def _thumbnail(cell: Cell) -> Image.Image:
    if cell.frame is None:
        image = Image.new("RGB", CELL_SIZE, MOUNT)
        lines = textwrap.wrap(cell.hit.content, 30, max_lines=8, placeholder=" …")
        ImageDraw.Draw(image).multiline_text((14, 14), "\n".join(lines), INK, _font(14), spacing=5)
        return image
    image = Image.fromarray(cell.frame)
    if cell.hit.locator.box:
        outline(image, cell.hit.locator.box, polygons=polygons_of(cell.hit))
    return ImageOps.pad(image, CELL_SIZE, Image.Resampling.LANCZOS, MOUNT)


def _caption(hit: Hit) -> list[str]:
    """Return the explanation of the hit, and its caption or OCR text."""
    texts = (hit.explanation, hit.caption or hit.ocr)
    return [line for text in texts for line in textwrap.wrap(text, CAPTION_WIDTH, max_lines=2, placeholder=" …")]


def _write_caption(draw: ImageDraw.ImageDraw, corner: tuple[int, int], rank: int, hit: Hit, caption: list[str]) -> None:
    x, y = corner
    score = f"{hit.score:.3f}"
    place = ", ".join(part for part in (Path(hit.source).name, str(hit.locator)) if part)
    room = CELL_SIZE[0] - round(_font(13).getlength(score)) - 8
    draw.text((x, y), _fit(f"{rank}. {place}", room, _font(14)), INK, _font(14))
    draw.text((x + CELL_SIZE[0], y), score, GRAY, _font(13), anchor="ra")
    for number, line in enumerate(caption, start=1):
        draw.text((x, y + number * LINE_HEIGHT), _fit(line, CELL_SIZE[0], _font(13)), GRAY, _font(13))


def _fit(line: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Return the line, shortened with an ellipsis if it is wider than the width in pixels."""
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
