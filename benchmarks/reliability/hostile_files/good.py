"""Small good files of each format, from which the damaged ones are made, and the functions that build them."""

from __future__ import annotations

import tarfile
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pillow_heif
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
from openpyxl import Workbook
from PIL import Image

PARAGRAPH = "<w:p><w:r><w:t>A bridge over the harbour</w:t></w:r></w:p>"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_DNG_TAGS = (
    (50706, "B", 4, (1, 4, 0, 0), True),
    (50708, "s", 0, "Acme X1", True),
    (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
    (50728, "2I", 3, (1,) * 6, True),
    (33421, "H", 2, (2, 2), True),
    (33422, "B", 4, (0, 1, 1, 2), True),
    (50717, "H", 1, 65535, True),
)


def picture(number: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Return an image that differs from that of each other number."""
    coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size)


def image(form: str, number: int = 7, **options: object) -> bytes:
    """Return an image file."""
    file = BytesIO()
    picture(number).save(file, form, **options)
    return file.getvalue()


def animation(form: str) -> bytes:
    """Return an animation of five frames."""
    return image(form, save_all=True, append_images=[picture(number) for number in range(4)])


def heic() -> bytes:
    """Return a HEIC image."""
    file = BytesIO()
    pillow_heif.from_pillow(picture(9)).save(file)
    return file.getvalue()


def dng(side: int = 64) -> bytes:
    """Return a camera raw file without a preview."""
    file = BytesIO()
    sensor = np.random.default_rng(5).integers(0, 60_000, (side, side), dtype=np.uint16)
    tifffile.imwrite(file, sensor, photometric="cfa", extratags=_DNG_TAGS, metadata=None)
    return file.getvalue()


def video(form: str, codec: str, frames: int = 24) -> bytes:
    """Return a video with a cut after each eighth frame."""
    file = BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(picture(number // 8))))
        container.mux(stream.encode())
    return file.getvalue()


def pdf(content: bytes, objects: tuple[bytes, ...] = (), page: bytes = b"", kids: bytes = b"[3 0 R]") -> bytes:
    """Return a PDF of one page; further objects begin with number 5."""
    all_objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids%s>>" % (kids.count(b"R"), kids),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R" + page + b">>",
        pdf_stream(b"", content),
        *objects,
    )
    body, starts = b"%PDF-1.7\n", []
    for number, each in enumerate(all_objects, start=1):
        starts.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(starts) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % size
    tail = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(body))
    return body + head + table + tail


def pdf_stream(entries: bytes, data: bytes) -> bytes:
    """Return a stream object of a PDF."""
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def zip_of(members: dict[str, bytes]) -> bytes:
    """Return a zip archive."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def package(main: str, members: dict[str, str]) -> bytes:
    """Return an office document whose main part has this name."""
    relations = f"<Relationships xmlns='{_PACKAGE}'><Relationship Id='a' Type='{_OFFICE}' Target='{main}'/>"
    types = "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>"
    parts = {"[Content_Types].xml": types, "_rels/.rels": f"{relations}</Relationships>", **members}
    return zip_of({name: text.encode() for name, text in parts.items()})


def docx(body: str) -> bytes:
    """Return a Word document."""
    return package(
        "word/document.xml",
        {"word/document.xml": f"<w:document xmlns:w='{_WORD}'><w:body>{body}</w:body></w:document>"},
    )


def pptx(text: str, slides: int = 1) -> bytes:
    """Return a presentation."""
    slide = f"<p:sld xmlns:p='p' xmlns:a='a'><p:cSld><p:spTree><p:sp>{text}</p:sp></p:spTree></p:cSld></p:sld>"
    root = "<p:presentation xmlns:p='p' xmlns:r='r'>"
    ids = "".join(f"<p:sldId id='{256 + i}' r:id='s{i}'/>" for i in range(slides))
    links = "".join(f"<Relationship Id='s{i}' Type='http://x/slide' Target='slides/slide.xml'/>" for i in range(slides))
    return package(
        "ppt/presentation.xml",
        {
            "ppt/presentation.xml": f"{root}<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": f"<Relationships xmlns='{_PACKAGE}'>{links}</Relationships>",
            "ppt/slides/slide.xml": slide,
        },
    )


def xlsx(rows: int = 3) -> bytes:
    """Return a workbook."""
    workbook, file = Workbook(write_only=True), BytesIO()
    sheet = workbook.create_sheet("bridges")
    for number in range(rows):
        sheet.append([f"bridge {number}", number])
    workbook.save(file)
    return file.getvalue()


def epub(chapters: int = 2, text: str = "<p>Words on a bridge</p>") -> bytes:
    """Return a book."""
    items = "".join(f"<item id='{i}' href='{i}.xhtml'/>" for i in range(chapters))
    spine = "".join(f"<itemref idref='{i}'/>" for i in range(chapters))
    return zip_of(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": b"<container><rootfile full-path='book.opf'/></container>",
            "book.opf": f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>".encode(),
            **{f"{i}.xhtml": f"<html><body>{text}</body></html>".encode() for i in range(chapters)},
        }
    )


def tar(members: dict[str, bytes]) -> bytes:
    """Return a tar."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    return file.getvalue()


def parquet(cells: list[bytes], repeat: int = 1, **options: object) -> bytes:
    """Return a table in which each image is repeated, but stored once."""
    indices = pa.array([number for number in range(len(cells)) for _ in range(repeat)], pa.int32())
    return table(pa.table({"image": pa.DictionaryArray.from_arrays(indices, pa.array(cells, pa.binary()))}), **options)


def table(content: pa.Table, **options: object) -> bytes:
    """Return a Parquet file of a table."""
    file = BytesIO()
    pq.write_table(content, file, compression="zstd", store_schema=False, **options)
    return file.getvalue()


def arrow(cells: list[bytes]) -> bytes:
    """Return an Arrow file with one batch per row."""
    content, file = pa.table({"image": cells}), BytesIO()
    with pa.ipc.new_file(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=1)
    return file.getvalue()


def multipage(pages: int) -> bytes:
    """Return a TIFF of tiny pages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pages.tif")
        with tifffile.TiffWriter(path) as writer:
            for _ in range(pages):
                writer.write(np.zeros((8, 8), np.uint8), metadata=None)
        return path.read_bytes()


def good_files() -> dict[str, bytes]:
    """Return a good file of each format, by its suffix."""
    return {
        ".jpg": image("JPEG"),
        ".png": image("PNG"),
        ".gif": animation("GIF"),
        ".webp": animation("WEBP"),
        ".tif": image("TIFF", compression="tiff_lzw"),
        ".bmp": image("BMP"),
        ".avif": image("AVIF"),
        ".heic": heic(),
        ".dng": dng(),
        ".mp4": video("mp4", "mpeg4"),
        ".mkv": video("matroska", "mpeg4"),
        ".avi": video("avi", "mpeg4"),
        ".mpg": video("mpeg", "mpeg2video"),
        ".pdf": pdf(b"0.5 g 20 20 100 100 re f"),
        ".docx": docx(PARAGRAPH),
        ".pptx": pptx("<p:txBody><a:p><a:r><a:t>Words on a slide</a:t></a:r></a:p></p:txBody>"),
        ".xlsx": xlsx(),
        ".epub": epub(),
        ".html": b"<html><body><p>Words on a bridge</p></body></html>",
        ".txt": b"A good text on bridges and harbours.\n",
        ".md": b"# Bridges\n\nA text.\n",
        ".tar": tar({"a.png": image("PNG"), "a.json": b'{"city": "Rome"}', "b.png": image("PNG", 8)}),
        ".parquet": parquet([image("PNG", 1), image("PNG", 2)]),
        ".arrow": arrow([image("PNG", 3), image("PNG", 4)]),
    }
