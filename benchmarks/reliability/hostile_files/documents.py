"""PDFs, office documents and texts that stand for very much, nest deeply, or refer to themselves."""

import struct
import zlib
from collections.abc import Iterator

from hostile_files.good import PARAGRAPH, docx, epub, package, pdf, pdf_stream, pptx, xlsx, zip_of

_UNITS = (
    ("div.html", b"<div>"),
    ("comment.html", b"<!--a"),
    ("attributes.html", b"<a b='"),
    ("decl.html", b"<!"),
    ("brackets.md", b"["),
    ("fences.md", b"```\n"),
    ("quotes.md", b">"),
    ("nul.txt", b"\0"),
    ("accents.txt", "\u0301".encode()),
    ("bytes.txt", bytes(range(128, 256))),
    ("spaces.txt", b" \n"),
    ("rows.txt", b'{"a": 1}\n'),
    ("rows.jsonl", b'{"a": 1}\n'),
    ("rows.csv", b"a,b\n"),
    ("quote.csv", b'"a'),
    ("deep.json", b"["),
)


def bombs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the documents."""
    yield from _pdfs()
    yield from _office(good)
    for name, unit in _UNITS:
        yield name, unit * (1_000_000 // len(unit))
    yield "long.txt", b"word " * 3_000_000


def _pdfs() -> Iterator[tuple[str, bytes]]:
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 200 200]/Resources<</XObject<</F %d 0 R>>>>"
    forms = tuple(pdf_stream(form % (6 + number), b"/F Do /F Do") for number in range(24))
    yield "forms.pdf", pdf(b"/F Do", forms, b"/Resources<</XObject<</F 5 0 R>>>>")
    pattern = (
        b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 .01 .01]/XStep .001/YStep .001/Resources<<>>"
    )
    tile = pdf_stream(pattern, b"0 0 1 1 re f")
    yield "tiles.pdf", pdf(b"/Pattern cs /P scn 0 0 200 200 re f", (tile,), b"/Resources<</Pattern<</P 5 0 R>>>>")
    pixels = b"/Type/XObject/Subtype/Image/Width 20000/Height 20000/BitsPerComponent 8/ColorSpace/DeviceRGB"
    unpacked = pdf_stream(pixels + b"/Filter/FlateDecode", zlib.compress(bytes(300_000_000), 9))
    yield "image.pdf", pdf(b"200 0 0 200 0 0 cm /I Do", (unpacked,), b"/Resources<</XObject<</I 5 0 R>>>>")
    yield "pages.pdf", pdf(b"", kids=b"[" + b"3 0 R " * 20_000 + b"]")
    yield "kids.pdf", pdf(b"", kids=b"[2 0 R 2 0 R 3 0 R]")
    yield "count.pdf", pdf(b"").replace(b"/Count 1", b"/Count 2000000000")
    yield "box.pdf", pdf(b"", page=b"/UserUnit 75000/CropBox[0 0 1000000 1000000]")
    yield "brackets.pdf", pdf(b"[" * 100_000)
    yield "script.pdf", pdf(b"").replace(b"/Catalog", b"/Catalog/OpenAction<</S/JavaScript/JS(while(1){})>>")


def _office(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield "text.docx", docx(PARAGRAPH * 500_000)
    yield "deep.docx", docx("<w:p>" * 100_000)
    declared = f"<!DOCTYPE a [<!ENTITY a '{'a' * 100}'>]>"
    yield "entities.docx", package("word/document.xml", {"word/document.xml": f"{declared}<a>{'&a;' * 100_000}</a>"})
    yield "outside.docx", package("../../../etc/passwd", {"word/document.xml": "<a/>"})
    yield "rows.xlsx", xlsx(60_000)
    yield "cell.xlsx", good[".xlsx"].replace(b"sheet1", b"sheet2")
    span = (
        "<worksheet><dimension ref='A1:XFD1048576'/><sheetData><row r='1048576'><c r='XFD1048576'/></row></sheetData>"
    )
    yield "span.xlsx", _with_member(good[".xlsx"], "xl/worksheets/sheet1.xml", span + "</worksheet>")
    yield "slides.pptx", pptx("<p:txBody><a:p><a:r><a:t>Words</a:t></a:r></a:p></p:txBody>", 15_000)
    yield "deep.pptx", pptx("<a:p>" * 100_000)
    yield "chapters.epub", epub(12_000)
    yield "members.epub", zip_of({f"{number}.xhtml": b"" for number in range(21_000)})
    yield (
        "zeros.odt",
        zip_of({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": bytes(300_000_000)}),
    )
    yield "quine.docx", good[".docx"] + good[".docx"]
    yield "overlap.docx", _overlapping(4_000)
    yield "nested.docx", zip_of({"a.docx": zip_of({"a.docx": good[".docx"]})})


def _with_member(file: bytes, name: str, text: str) -> bytes:
    """Return a zip archive with another member of a name, which follows the first one."""
    import io
    import warnings
    import zipfile

    opened = io.BytesIO(file)
    with warnings.catch_warnings(), zipfile.ZipFile(opened, "a", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, text)
    return opened.getvalue()


def _overlapping(count: int) -> bytes:
    """Return a document whose members all lie in the same bytes, which unpack to 1 MB each."""
    data, name = zlib.compress(bytes(1_000_000), 9)[2:-4], b"word/document.xml"
    fields = struct.pack(
        "<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(bytes(1_000_000)), len(data), 1_000_000, len(name), 0
    )
    local = b"PK\3\4" + fields + name + data
    entry = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(entry) * count, len(local), 0)
    return local + entry * count + end
