"""Recognizes the format of a file by its first bytes, so that an error can say what the file really is."""

from florence_rag.errors import MediaError

HEAD_BYTES = 512

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"ID3", "an MP3 recording"),
    (b"OggS", "an Ogg recording or video"),
    (b"FLV\x01", "an FLV video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMV video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b".RMF", "a RealMedia video"),
    (b"fLaC", "a FLAC recording"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"version https://git-lfs", "a Git LFS pointer: run 'git lfs pull'"),
)
_RIFF = {b"WEBP": "a WebP image", b"AVI ": "an AVI video", b"WAVE": "a WAV recording"}
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))


def format_error(name: str, head: bytes, wanted: str) -> MediaError:
    """Return the error for a file that cannot be opened in the wanted format, such as "an image" or "a PDF"."""
    if not head:
        return MediaError(f"{name} is empty (0 bytes)")
    found = describe_format(head)
    if wanted.split()[-1] not in found.split():
        return MediaError(f"{name} is not {wanted}: it starts like {found}")
    return MediaError(f"{name} is truncated or damaged (it starts like {found}); replace it with a good copy")


def encrypted_error(uri: str) -> MediaError:
    """Return the error for a file that needs a password."""
    return MediaError(f"{uri!r} is encrypted; save a copy without password")


def describe_format(head: bytes) -> str:
    """Return what a file with this beginning most likely is, such as "a PNG image"."""
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        if brands(head) & AVIF_BRANDS:
            return "an AVIF image"
        return "a HEIC image" if brands(head) & HEIF_BRANDS else "an MP4 or MOV video"
    return _describe_text(head) if head.strip(b"\0") else "a blank file: only zero bytes"


def brands(head: bytes) -> frozenset[bytes]:
    """Return the brands in the ftyp box of an MP4, HEIC or AVIF file; none for other files."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset((head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))))


def _describe_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:HEAD_BYTES].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "an SVG drawing"
    if start.startswith(b"<?xml"):
        return "an XML document"
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return "text" if control == 0 else "unknown binary data"
