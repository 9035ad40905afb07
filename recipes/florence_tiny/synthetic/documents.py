"""Documents of the demo corpus: a poster for OCR, and a PDF with a text layer and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from recipes.florence_tiny.synthetic.canvas import Color

CREAM: Color = (253, 246, 227)
INK: Color = (44, 48, 62)
LINE_GAP_PX = 22
MARGIN_PT = 60
IMAGE_PT = (475, 356)
JPEG_QUALITY = 88
CREATED = datetime(2029, 1, 1, tzinfo=UTC)
"""A fixed date, so that equal pages give equal files."""


@dataclass(frozen=True, slots=True)
class PosterLine:
    """A centered line of text on a poster; size in pixels."""

    text: str
    size: int
    color: Color = INK


def draw_poster(lines: Sequence[PosterLine], image: Image.Image) -> Image.Image:
    """Draw the lines above the image; the poster is as wide as the image."""
    fonts = [ImageFont.load_default(line.size) for line in lines]
    top = LINE_GAP_PX * 2 + sum(line.size + LINE_GAP_PX for line in lines)
    poster = Image.new("RGB", (image.width, top + image.height), CREAM)
    draw = ImageDraw.Draw(poster)
    y = 2 * LINE_GAP_PX
    for line, font in zip(lines, fonts, strict=True):
        draw.text((image.width / 2, y + line.size / 2), line.text, fill=line.color, font=font, anchor="mm")
        y += line.size + LINE_GAP_PX
    poster.paste(image, (0, top))
    return poster


@dataclass(frozen=True, slots=True)
class Page:
    """A title, lines of text below it, and an image at the bottom of the page."""

    title: str
    lines: tuple[str, ...]
    image: Image.Image


def write_pdf(path: Path, pages: Sequence[Page]) -> None:
    """Write an A4 PDF file with one font; every page has its text and a JPEG image."""
    pdf = FPDF(unit="pt", format="A4")
    pdf.core_fonts_encoding = "windows-1252"
    pdf.creation_date = CREATED
    pdf.set_auto_page_break(False)
    for page in pages:
        pdf.add_page()
        y = MARGIN_PT + 24
        pdf.set_font("Helvetica", size=24)
        pdf.text(MARGIN_PT, y, page.title)
        pdf.set_font("Helvetica", size=12)
        for number, line in enumerate(page.lines, 1):
            pdf.text(MARGIN_PT, y + 16 + 19 * number, line)
        width, height = IMAGE_PT
        pdf.image(_jpeg(page.image), MARGIN_PT, pdf.h - MARGIN_PT - height, width, height)
    pdf.output(str(path))


def _jpeg(image: Image.Image) -> BytesIO:
    file = BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY)
    return file
