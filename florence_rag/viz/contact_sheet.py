"""Draws hits into one image: for people a row per query, for chat models a grid of numbered tiles."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from florence_rag.batching import batched
from florence_rag.errors import InputError
from florence_rag.types import Box, Frame, Hit, middle_frame
from florence_rag.viz.drawing import outline, polygons_of, scaled
from florence_rag.viz.fonts import TextStyle, load_font

PAPER, INK, GRAY, MOUNT = "#ffffff", "#1f2328", "#6e7781", "#f0f2f4"
CELL_SIZE = (240, 180)
QUERY_SIZE = (160, 120)
COLUMNS = 5
"""The most hits next to each other; further ones continue below."""
GAP = 20
LINE_HEIGHT = 18
TITLE_LINES, CAPTION_LINES = 4, 12
MIN_TILE, MAX_TILE = 48, 384


@dataclass(frozen=True, slots=True)
class Cell:
    """One hit on the sheet, with its frame; without a frame, the text of the hit is drawn."""

    hit: Hit
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The hits of one query, with the image that was searched with and the part of it, if any."""

    title: str
    cells: Sequence[Cell]
    query: Frame | None = None
    box: Box | None = None


def hits_to_row(
    title: str,
    hits: Sequence[Hit],
    load_frames: Callable[[Hit], tuple[Frame, ...]],
    query: Frame | None = None,
    box: Box | None = None,
) -> Row:
    """Return a row of hits, each with its middle frame. A hit whose file is missing is drawn without an image."""
    cells = []
    for hit in hits:
        frames: tuple[Frame, ...] = ()
        with suppress(InputError):
            frames = load_frames(hit)
        cells.append(Cell(hit, middle_frame(frames) if frames else None))
    return Row(title, cells, query, box)


def draw_sheet(rows: Sequence[Row]) -> Image.Image:
    """Draw the rows below each other."""
    columns = min(max((len(row.cells) for row in rows), default=0) or 1, COLUMNS)
    width = columns * (CELL_SIZE[0] + GAP) + GAP
    strips = [strip for row in rows for strip in _draw_row(row, width)]
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
    draw, font = ImageDraw.Draw(tile), load_font(max(12, side // 8))
    _, _, right, bottom = draw.textbbox((4, 2), str(number), font=font)
    draw.rectangle((0, 0, right + 5, bottom + 4), fill=INK)
    draw.text((4, 2), str(number), PAPER, font)
    draw.rectangle((0, 0, side - 1, side - 1), outline=PAPER)
    return tile


def _draw_row(row: Row, width: int) -> Iterator[Image.Image]:
    """Yield the query, then the hits, in as many strips as they need."""
    yield _draw_query(row, width)
    for blocks in batched(starmap(_draw_cell, enumerate(row.cells, start=1)), COLUMNS):
        strip = Image.new("RGB", (width, max(block.height for block in blocks) + GAP), PAPER)
        for column, block in enumerate(blocks):
            strip.paste(block, (GAP + column * (CELL_SIZE[0] + GAP), 0))
        yield strip


def _draw_query(row: Row, width: int) -> Image.Image:
    """Draw the title, next to the image that was searched with, in which its part is outlined."""
    left = GAP if row.query is None else 2 * GAP + QUERY_SIZE[0]
    title = TextStyle(row.title, 20)
    lines = title.wrap(width - left - GAP, TITLE_LINES)
    height = max(0 if row.query is None else QUERY_SIZE[1], len(lines) * 26)
    strip = Image.new("RGB", (width, height + GAP // 2), PAPER)
    if row.query is not None:
        image = Image.fromarray(row.query)
        if row.box is not None:
            outline(image, row.box)
        strip.paste(ImageOps.pad(image, QUERY_SIZE, Image.Resampling.LANCZOS, MOUNT), (GAP, 0))
    ImageDraw.Draw(strip).multiline_text((left, 0), "\n".join(lines), INK, title.font, spacing=6)
    return strip


def _draw_cell(rank: int, cell: Cell) -> Image.Image:
    """Draw a hit: its image, its file and place, its score, why it was found, and its caption or OCR text."""
    hit, width = cell.hit, CELL_SIZE[0]
    place = ", ".join(part for part in (Path(hit.source).name or hit.source, str(hit.locator)) if part)
    parts = [(f"{rank}. {place}", 14, INK), (f"{hit.kind}, score {hit.score:.3f}", 13, GRAY)]
    parts += [(text, 13, GRAY) for text in (hit.explanation, hit.caption or hit.ocr if cell.frame is not None else "")]
    styles = [(TextStyle(text, size), color) for text, size, color in parts]
    lines = [(line, style, color) for style, color in styles for line in style.wrap(width, CAPTION_LINES)]
    block = Image.new("RGB", (width, CELL_SIZE[1] + len(lines) * LINE_HEIGHT + 8), PAPER)
    block.paste(_thumbnail(cell), (0, 0))
    draw = ImageDraw.Draw(block)
    for number, (line, style, color) in enumerate(lines):
        draw.text((0, CELL_SIZE[1] + 6 + number * LINE_HEIGHT), line, color, style.font)
    return block


def _thumbnail(cell: Cell) -> Image.Image:
    if cell.frame is None:
        image, content = Image.new("RGB", CELL_SIZE, MOUNT), TextStyle(cell.hit.content, 14)
        lines = "\n".join(content.wrap(CELL_SIZE[0] - 28, 8))
        ImageDraw.Draw(image).multiline_text((14, 14), lines, INK, content.font, spacing=5)
        return image
    image = Image.fromarray(cell.frame)
    if cell.hit.locator.box:
        outline(image, cell.hit.locator.box, polygons=polygons_of(cell.hit))
    return ImageOps.pad(image, CELL_SIZE, Image.Resampling.LANCZOS, MOUNT)
