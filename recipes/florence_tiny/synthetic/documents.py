"""Printed matter of the drawn town: a poster to read and a PDF with a text layer and pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from recipes.florence_tiny.synthetic.canvas import Color

CREAM: Color = (253, 246, 227)
INK: Color = (44, 48, 62)
A4 = (595, 842)
MARGIN = 60
PICTURE = (475, 356)


@dataclass(frozen=True, slots=True)
class PosterLine:
    """One centred line on a poster."""

    text: str
    size: int
    color: Color = INK


def draw_poster(lines: Sequence[PosterLine], image: Image.Image) -> Image.Image:
    """The lines above the picture, which is as wide as the poster and gives it its width."""
    gap = 22
    fonts = [ImageFont.load_default(line.size) for line in lines]
    top = gap * 2 + sum(line.size + gap for line in lines)
    poster = Image.new("RGB", (image.width, top + image.height), CREAM)
    canvas = ImageDraw.Draw(poster)
    y = 2 * gap
    for line, font in zip(lines, fonts, strict=True):
        canvas.text((image.width / 2, y + line.size / 2), line.text, fill=line.color, font=font, anchor="mm")
        y += line.size + gap
    poster.paste(image, (0, top))
    return poster


@dataclass(frozen=True, slots=True)
class Page:
    """A title, lines of text below it, and a picture at the foot."""

    title: str
    lines: tuple[str, ...]
    image: Image.Image


def write_pdf(path: Path, pages: Sequence[Page]) -> None:
    """A PDF 1.4 file, written by hand: one font, and for each page its text and a JPEG."""
    numbers = range(4, 4 + 3 * len(pages), 3)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in zip(numbers, pages, strict=True):
        objects += _page_objects(number, page)
    path.write_bytes(_file(objects))


def _page_objects(number: int, page: Page) -> Iterator[bytes]:
    """The page, numbered so, and the two that follow it: its text and its picture."""
    resources = f"<< /Font << /F1 3 0 R >> /XObject << /Im1 {number + 2} 0 R >> >>"
    box = f"[0 0 {A4[0]} {A4[1]}]"
    yield (
        f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Resources {resources} /Contents {number + 1} 0 R >>".encode()
    )
    yield _stream("", _content(page))
    jpeg = io.BytesIO()
    page.image.convert("RGB").save(jpeg, "JPEG", quality=88)
    yield _stream(
        f"/Type /XObject /Subtype /Image /Width {page.image.width} /Height {page.image.height} "
        "/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode",
        jpeg.getvalue(),
    )


def _content(page: Page) -> bytes:
    top = A4[1] - MARGIN - 24
    commands = ["BT", "/F1 24 Tf", f"{MARGIN} {top} Td", f"({_escape(page.title)}) Tj", "/F1 12 Tf", "0 -16 Td"]
    for line in page.lines:
        commands += ["0 -19 Td", f"({_escape(line)}) Tj"]
    commands += ["ET", "q", f"{PICTURE[0]} 0 0 {PICTURE[1]} {MARGIN} {MARGIN} cm", "/Im1 Do", "Q"]
    return "\n".join(commands).encode("cp1252")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _file(objects: Sequence[bytes]) -> bytes:
    """Header, numbered objects, and the table that says at which byte each begins."""
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    table = ["0000000000 65535 f "]
    for number, body in enumerate(objects, 1):
        table.append(f"{len(out):010} 00000 n ")
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(out)
    out += "\n".join(["xref", f"0 {len(table)}", *table, ""]).encode()
    out += f"trailer\n<< /Size {len(table)} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)
