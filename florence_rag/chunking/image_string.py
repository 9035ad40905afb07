"""Reads the strings that stand for an image besides a path: data URIs, file: URLs, and base64 as programs pass it."""

import base64
import re
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from florence_rag.chunking.formats import HEAD_BYTES, describe_format
from florence_rag.errors import InputError

MAX_BYTES = 100_000_000
"""The most bytes of an image inside a string; a file may be larger."""

_DATA = re.compile(r"\s*data:(?=\S)", re.IGNORECASE)
_FILE = re.compile(r"\s*file:(?=\S)", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{64,}+[=\s]*+")
_WINDOWS_DRIVE = re.compile(r"/*[A-Za-z][:|]")
_URLSAFE = str.maketrans("-_", "+/")


def decode_image_string(image: str, max_bytes: int = MAX_BYTES) -> bytes | str:
    """Return the bytes of a data URI or of base64, the path of a file: URL, or any other string as it is.

    Args:
        image: A data URI, in base64 or percent-encoded; a file: URL; base64 in either alphabet, with or without line
            ends; or a path. A string is base64 only if it decodes to the beginning of an image file.
        max_bytes: The largest image that is decoded.

    Returns:
        The bytes of a file, which may be damaged, or a path.

    Raises:
        InputError: If the image is too large, the data URI is not valid, or the URL names no file of this machine.
    """
    if _DATA.match(image):
        return _decode_data_uri(image.strip(), max_bytes)
    if _FILE.match(image):
        return _file_url_to_path(image.strip())
    return decode_base64(image, max_bytes) if _is_base64_image(image) else image


def is_inline_image(text: str) -> bool:
    """Return whether a string holds an image itself, and is neither a path nor a URL to it."""
    return _DATA.match(text) is not None or _is_base64_image(text)


def decode_base64(text: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of base64 in either alphabet, with or without line ends and padding, or raise InputError."""
    digits = "".join(text.split()).rstrip("=").translate(_URLSAFE)
    if len(digits) * 3 // 4 > max_bytes:
        raise _too_large(max_bytes)
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError as error:
        raise InputError(f"the image is not valid base64: {error}") from None


def _decode_data_uri(uri: str, max_bytes: int) -> bytes:
    header, comma, body = uri.partition(",")
    if not comma:
        raise InputError(f"the data URI {uri[:40]!r} has no comma; write data:image/png;base64, and then the data")
    if len(body) > 4 * max_bytes:  # each byte may be percent-encoded
        raise _too_large(max_bytes)
    if header.rpartition(";")[2].strip().lower() == "base64":
        return decode_base64(unquote(body), max_bytes)
    data = unquote_to_bytes("".join(body.split()).encode(errors="replace"))
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _is_base64_image(text: str) -> bool:
    """Return whether a string is base64 that begins as image files do, which no path does."""
    digits = "".join(text[: 2 * HEAD_BYTES].split())[:HEAD_BYTES]
    if not _BASE64.fullmatch(text) or len(digits) < 64:
        return False
    head = decode_base64(digits[: len(digits) // 4 * 4 - 4])
    return "image" in describe_format(head).split()


def _file_url_to_path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InputError(f"{url!r:.80} is not a URL of a file; give a path") from None
    path = unquote(parts.path, errors="surrogateescape")
    if _WINDOWS_DRIVE.match(parts.netloc + path):
        raise InputError(f"{url!r:.80} names a file on a drive of Windows; give the path of a file on this machine")
    if parts.netloc.lower() not in ("", "localhost"):
        raise InputError(f"{url!r:.80} names a file on the host {parts.netloc!r}; give the path of a copy here")
    if not path.startswith("/"):
        raise InputError(f"{url!r:.80} has no absolute path; write file:///folder/image.jpg, or give a path")
    return path


def _too_large(max_bytes: int) -> InputError:
    return InputError(f"the image is larger than {max_bytes / 1_000_000:g} MB; pass a smaller one")
