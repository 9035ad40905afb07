import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from florence_rag.chunking import pdf_ocr
from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.pdf import chunk_source
from florence_rag.chunking.pdf_ocr import WHOLE, is_readable
from tests.chunking.samples import pdf_image, pdf_page, pdf_stream, source

LINES = b"".join(
    b"BT /F1 11 Tf 40 %d Td (This article explains a machine in words, line %d.) Tj ET\n" % (480 - 14 * i, i)
    for i in range(12)
)
FULL = "q 400 0 0 500 0 0 cm /I Do Q\n"
IMAGE = "/XObject << /I 6 0 R >>"


def drawn(*lines: str, size=(800, 1000), at=(80, 200), font_px=48) -> Image.Image:
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((at[0], at[1] + 2 * number * font_px), line, 0, ImageFont.load_default(font_px))
    return image


SCAN = drawn("The MARSUPIAL report", "was typed in 1954", "and never read since")
SCANNED = pdf_image(SCAN)


def typed(text: str, *, at=(180, 20), size=9, mode=0, matrix="1 0 0 1") -> bytes:
    return f"BT {mode} Tr /F1 {size} Tf {matrix} {at[0]} {at[1]} Tm ({text}) Tj ET\n".encode()


def layer(mode: int) -> bytes:
    """Return the lines of the scan as text at their places."""
    rows = ("The MARSUPIAL report", "was typed in 1954", "and never read since")
    return b"".join(
        typed(row, at=(40, 500 - (200 + 96 * i + 40) / 2), size=23, mode=mode) for i, row in enumerate(rows)
    )


def over_scan(*text: bytes, under: bytes = b"", **parts) -> bytes:
    return pdf_page(under + FULL.encode() + b"".join(text), SCANNED, resources=IMAGE, **parts)


def boxes(tmp_path, data: bytes):
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    (page,) = chunk_source(source(path, "pdf"), ChunkingConfig(page_side_px=200))
    return page.ocr_boxes


def test_the_boxes_are_found_only_for_those_who_read_them(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(over_scan(typed("17")))
    with_boxes, without = (
        page
        for find in (True, False)
        for page in chunk_source(source(path, "pdf"), ChunkingConfig(page_side_px=200, find_ocr_boxes=find))
    )
    assert (with_boxes.ocr_boxes, without.ocr_boxes) == ((WHOLE,), ())
    assert with_boxes.text == without.text == "17"
    assert np.array_equal(with_boxes.frames[0], without.frames[0])


def strips(count: int) -> bytes:
    height = SCAN.height // count
    parts = [pdf_image(SCAN.crop((0, i * height, SCAN.width, (i + 1) * height))) for i in range(count)]
    content = "".join(f"q 400 0 0 {500 / count} 0 {500 - (i + 1) * 500 / count} cm /I{i} Do Q\n" for i in range(count))
    names = " ".join(f"/I{i} {6 + i} 0 R" for i in range(count))
    return pdf_page(content.encode() + typed("Page 1"), *parts, resources=f"/XObject << {names} >>")


def inline() -> bytes:
    head = f"BI /W {SCAN.width} /H {SCAN.height} /CS /G /BPC 8 ID ".encode()
    return pdf_page(b"q 400 0 0 500 0 0 cm " + head + SCAN.tobytes() + b" EI Q\n" + typed("Page 1"))


def nested() -> bytes:
    inner = pdf_stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Matrix [2 0 0 2 0 0] /Resources << /XObject << /I 6 0 R >> >>",
        b"q 0.5 0 0 0.5 0 0 cm /I Do Q",
    )
    content = b"q 400 0 0 500 0 0 cm /Form Do Q\n" + typed("Page 1")
    return pdf_page(content, SCANNED, inner, resources="/XObject << /Form 7 0 R >>")


def bilevel() -> bytes:
    bits = SCAN.point(lambda level: 255 * (level < 128)).convert("1")
    mask = pdf_stream(
        "/Type /XObject /Subtype /Image /ImageMask true /BitsPerComponent 1 /Decode [1 0] "
        f"/Width {bits.width} /Height {bits.height}",
        bits.tobytes(),
    )
    return pdf_page(FULL.encode() + typed("Page 1"), mask, resources=IMAGE)


def outlined() -> bytes:
    """Return letters of straight strokes, drawn as areas, with a page number."""
    strokes = {
        "H": "0 0 4 20 10 0 4 20 0 8 14 4",
        "E": "0 0 4 20 0 0 12 4 0 8 10 4 0 16 12 4",
        "L": "0 0 4 20 0 0 12 4",
    }
    content = ""
    for row in range(4):
        for i, letter in enumerate("HELLHELEHELLHE"):
            numbers = strokes[letter].split()
            parts = [" ".join(numbers[k : k + 4]) + " re" for k in range(0, len(numbers), 4)]
            content += f"q 1 0 0 1 {60 + 20 * i} {400 - 40 * row} cm {' '.join(parts)} f Q\n"
    return pdf_page(content.encode() + typed("Page 1"))


def with_font(font: str, *objects: bytes, text: bytes = b"BT /F2 24 Tf 40 300 Td (The PANGOLIN report) Tj ET") -> bytes:
    return pdf_page(text, font.encode(), *objects).replace(b"/F1 5 0 R", b"/F1 5 0 R /F2 6 0 R")


def private_use() -> bytes:
    codes = b"1 begincodespacerange <00> <ff> endcodespacerange"
    cmap = b"begincmap " + codes + b" 1 beginbfrange <20> <7e> <e020> endbfrange endcmap"
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 7 0 R >>"
    return with_font(font, pdf_stream("", cmap))


def type3() -> bytes:
    font = (
        "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 800 800] /FontMatrix [.001 0 0 .001 0 0] "
        "/FirstChar 1 /LastChar 2 /Widths [800 800] /CharProcs << /a 7 0 R /b 8 0 R >> "
        "/Encoding << /Type /Encoding /Differences [1 /a /b] >> >>"
    )
    shapes = (b"800 0 0 0 700 700 d1 100 0 m 400 700 l 700 0 l h f", b"800 0 0 0 700 700 d1 100 0 500 700 re f")
    text = b"BT /F2 24 Tf 40 300 Td <0102010202010102> Tj ET\n" + typed("Page 1")
    return with_font(font, *(pdf_stream("", shape) for shape in shapes), text=text)


@pytest.mark.parametrize(
    "data",
    [
        over_scan(),
        over_scan(typed("Page 1")),
        over_scan(typed(".")),
        over_scan(typed("Scanned by office printer on 12 March", at=(30, 10))),
        over_scan(typed("CONFIDENTIAL", at=(60, 100), size=50, matrix="0.7 0.7 -0.7 0.7")),
        over_scan(typed("RECEIVED", at=(100, 380), size=40)),
        over_scan(typed("Page 1"), page="/Rotate 90"),
        over_scan(typed("Page 1"), page="/Rotate 180 /CropBox [0 100 400 480]"),
        over_scan(typed("Page 1", at=(80, 20)), page="/UserUnit 2.5"),
        strips(20),
        strips(200),
        inline(),
        nested(),
        bilevel(),
        outlined(),
        private_use(),
        type3(),
    ],
    ids="alone number dot stamp watermark over rotated cropped unit strips lines inline nested mask outlined "
    "private type3".split(),
)
def test_a_page_whose_writing_is_not_text_is_read_whole(tmp_path, data):
    assert boxes(tmp_path, data) == (WHOLE,)


LOGO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 120), np.uint8))
BLANK = Image.new("L", (100, 125), 250)


@pytest.mark.parametrize(
    "data",
    [
        pdf_page(LINES),
        over_scan(layer(3)),
        over_scan(under=layer(0)),
        over_scan(layer(3), page="/Rotate 270"),
        over_scan(layer(3), page="/CropBox [20 60 380 440]"),
        over_scan(layer(3), typed("Page 1")),
        pdf_page(LINES + b"q 80 0 0 40 300 30 cm /I Do Q", pdf_image(LOGO), resources=IMAGE),
        pdf_page(FULL.encode() + LINES, pdf_image(BLANK), resources=IMAGE),
        pdf_page(b"0.8 0.9 1 rg 0 0 400 500 re f 0 g\n" + LINES),
        pdf_page(
            LINES + b"".join(b"%d 20 m %d 300 l S 20 %d m 380 %d l S\n" % (x, x, x, x) for x in range(20, 320, 20))
        ),
    ],
    ids="text layer behind rotated-layer cropped-layer numbered-layer logo blank-image background table".split(),
)
def test_text_and_searchable_scans_are_not_read(tmp_path, data):
    assert boxes(tmp_path, data) == ()


FIGURE = pdf_image(drawn("FLYWHEEL", size=(600, 400), at=(180, 170)))


@pytest.mark.parametrize(
    ("rotation", "middle"), [(0, (0.5, 0.72)), (90, (0.28, 0.5)), (180, (0.5, 0.28)), (270, (0.72, 0.5))]
)
def test_a_figure_in_a_page_of_text_is_read_alone(tmp_path, rotation, middle):
    content = LINES + b"q 300 0 0 200 50 40 cm /I Do Q"
    ((left, top, right, bottom),) = boxes(
        tmp_path, pdf_page(content, FIGURE, resources=IMAGE, page=f"/Rotate {rotation}")
    )
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(middle, abs=0.03)
    assert 0.01 < (right - left) * (bottom - top) < 0.1


def test_a_figure_in_a_cropped_page_is_found_at_its_place(tmp_path):
    content = LINES + b"q 300 0 0 200 50 40 cm /I Do Q"
    data = pdf_page(content, FIGURE, resources=IMAGE, page="/CropBox [50 40 350 500]")
    ((left, top, right, bottom),) = boxes(tmp_path, data)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((0.5, 0.78), abs=0.03)


@pytest.mark.slow
def test_a_map_of_many_lines_is_read_without_a_closer_look(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf_ocr, "_render", lambda page: pytest.fail("rendered"))
    data = pdf_page(LINES + b"10 10 m 30 10 l S\n" * 20_000)
    assert boxes(tmp_path, data) == (WHOLE,)


def test_many_small_figures_are_read_as_one_page(tmp_path):
    places = [(x, y) for x in (40, 160, 280) for y in (30, 110, 190, 260)]
    content = LINES + b"".join(b"q 90 0 0 50 %d %d cm /I Do Q\n" % place for place in places)
    assert boxes(tmp_path, pdf_page(content, FIGURE, resources=IMAGE)) == (WHOLE,)


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("", True),
        ("1. ", True),
        ("Why?", True),
        ("?? ???", False),
        ("नमस्ते", True),
        ("\ue054\ue068\ue065", False),
        ("\ufffd\ufffdab\ufffd", False),
        ("\x01\x02", False),
    ],
)
def test_private_characters_are_not_readable(text, readable):
    assert is_readable(text) is readable


def test_unreadable_text_is_not_kept(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(private_use())
    (page,) = chunk_source(source(path, "pdf"), ChunkingConfig(page_side_px=64))
    assert page.text == ""
