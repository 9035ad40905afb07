"""Images that claim, unpack to, or loop over very much."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from hostile_files.good import dng, heic, multipage


def bombs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the images."""
    yield "pixels.png", _png(40_000, 40_000, 1)
    yield "claims.png", _png(2**31 - 1, 2**31 - 1, rows=9)
    yield "thin.png", _png(1, 200_000)
    yield "text.png", _png(10, 10, extra=b"\0\0\0\0tEXt\xa2\xfd\x16\xa3" * 50_000)
    yield "frames.gif", _gif(16, 16, 200_000)
    yield "screen.gif", _gif(65_535, 65_535, 1)
    yield "frames.webp", _webp(16, 16, 100_000)
    yield "canvas.webp", _webp(16_000, 16_000, 3)
    yield "claims.tif", _tiff(7_000, 7_000)
    yield "loop.tif", _tiff(16, 16, 8)
    yield "pages.tif", multipage(12_000)
    yield "pixels.jpg", _large("JPEG", 12_000)
    yield "pixels.webp", _large("WEBP", 8_000)
    # A JPEG whose scan is repeated: each costs a pass over all pixels.
    jpg = good[".jpg"]
    scan = jpg.rfind(b"\xff\xda")
    yield "scans.jpg", jpg[:scan] + jpg[scan:-2] * 3_000 + b"\xff\xd9"
    yield "claims.heic", _replaced(heic(), b"ispe", 8, struct.pack(">II", 60_000, 60_000))
    yield "boxes.heic", heic()[:24] + struct.pack(">I4s", 0x7FFFFFFF, b"meta") * 1_000
    yield "claims.avif", _replaced(good[".avif"], b"ispe", 8, struct.pack(">II", 60_000, 60_000))
    yield "claims.dng", _tag(dng(), 256, 60_000)
    yield "rows.dng", _tag(dng(), 257, 0x7FFFFFFF)
    yield "stream.jxl", b"\xff\x0a" + bytes(range(256))
    yield "container.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(500)
    yield "jxl.png", b"\xff\x0a" + bytes(range(256))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, bits: int = 8, rows: int | None = None, extra: bytes = b"") -> bytes:
    packer = zlib.compressobj(9)
    row = bytes(1 + width * bits // 8) if width < 100_000 else b""
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000), 9)) if extra else b""
    chunks = _chunk(b"IHDR", head) + text + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _large(form: str, side: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (side, side)).save(file, form, quality=10)
    return file.getvalue()


def _gif(width: int, height: int, frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + (b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00") * frames + b"\x3b"


def _webp(width: int, height: int, frames: int) -> bytes:
    """Return an animation whose frames are the same tiny image."""
    file = BytesIO()
    Image.new("RGB", (2, 2)).save(file, "WEBP", lossless=True)
    still = file.getvalue()[12:]
    head = bytes(6) + bytes((1, 0, 0, 1, 0, 0)) + bytes((20, 0, 0, 0))
    frame = b"ANMF" + struct.pack("<I", len(head) + len(still)) + head + still
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += frame * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(width: int, height: int, next_page: int = 0) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height), (279, 256))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_page) + bytes(400)


def _tag(file: bytes, tag: int, value: int) -> bytes:
    """Return a little-endian TIFF with another value of a tag."""
    start = struct.unpack_from("<I", file, 4)[0]
    data = bytearray(file)
    for number in range(struct.unpack_from("<H", file, start)[0]):
        entry = start + 2 + 12 * number
        if struct.unpack_from("<H", file, entry)[0] == tag:
            struct.pack_into("<HHII", data, entry, tag, 4, 1, value)
    return bytes(data)


def _replaced(file: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    at = file.find(box) + offset
    return file[:at] + value + file[at + len(value) :]
