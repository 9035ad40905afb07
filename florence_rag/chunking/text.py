"""Documents of text: decoded whatever their encoding, cut into passages at paragraphs and sentences."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from charset_normalizer import from_bytes

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.formats import HEAD_BYTES, starts_like
from florence_rag.chunking.html import html_to_text
from florence_rag.errors import MediaError
from florence_rag.sources.io import is_path, open_uri
from florence_rag.types import Chunk, Locator, Source

MAX_FILE_BYTES = 16_000_000
"""Of one document of text; it is held in memory. A novel has about one million."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LEGACY = ("cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256")
_CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\s{_IDEOGRAPH}]{{1,40}}")
_BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*|\n(?=#)"),  # paragraphs, headings
    re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？][」』）]*\s*"),  # noqa: RUF001  sentences
    re.compile(r"\n\s*"),  # lines
)


def chunk_text(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    """One chunk per passage; the span counts characters of the text as decoded, for HTML of its readable text."""
    data = read_bytes(source.uri)
    metadata: dict[str, Any] = {}
    if _is_html(source.uri, data):
        title, text = html_to_text(decode_html(data, source.uri))
        metadata = {"title": title} if title else {}
    else:
        text = decode_text(data, source.uri)
    found = False
    for start, end in split_passages(text, config.passage_words):
        found = True
        yield Chunk(source, "text", Locator(span=(start, end)), text=text[start:end], metadata=metadata)
    if not found:
        raise MediaError(f"{source.uri!r} holds no text")


def _is_html(uri: str, data: bytes) -> bool:
    """The name tells; a web page often has none, but a beginning."""
    is_page = Path(uri).suffix.lower() in (".html", ".htm", ".xhtml")
    return is_page or (not is_path(uri) and starts_like(data[:HEAD_BYTES]) == "an HTML page")


def read_bytes(path: str) -> bytes:
    """The whole file, if it is of a size that a document has."""
    with open_uri(path) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise MediaError(f"{path!r} has more than {MAX_FILE_BYTES:,} bytes of text; split it into smaller files")
    return data


def decode_text(data: bytes, name: str) -> str:
    """Text with newlines as "\\n" and without control characters; MediaError if the bytes are no text."""
    text = _decode(data)
    if text is None or text.count("\0") or _looks_binary(text):
        raise MediaError(f"{name!r} is not text: it starts like {starts_like(data[:HEAD_BYTES])}")
    return _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def decode_html(data: bytes, name: str) -> str:
    """As decode_text, but believes a charset that the page declares."""
    declared = re.search(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w-]{1,40})", data[:4096], re.IGNORECASE)
    if declared and not data.startswith(tuple(mark for mark, _ in _BOMS)):
        try:
            return decode_text(data.decode(declared[1].decode("ascii")).encode("utf-8", "replace"), name)
        except (LookupError, UnicodeError):
            pass  # the page declares what it does not keep
    return decode_text(data, name)


def split_passages(text: str, words: int) -> Iterator[tuple[int, int]]:
    """(start, end) of consecutive passages of about so many words, cut at the strongest border near there.

    An ideograph or kana counts as a word, and so do 40 characters without a space.
    """
    start = 0
    while starts := [match.start() for match in islice(_WORD.finditer(text, start), words * 2)]:
        start, short_of = starts[0], len(starts) <= words * 3 // 2
        end = len(text) if short_of else _border(text, starts, words)
        yield start, start + len(text[start:end].rstrip())
        start = end


def _border(text: str, starts: list[int], words: int) -> int:
    """Where the next passage begins: between half and one and a half times the length aimed at."""
    aim, first, last = starts[words], starts[words // 2], starts[words * 3 // 2]
    for border in _BORDERS:
        # A little before `first`, as the border is what precedes a word.
        ends = [match.end() for match in border.finditer(text, max(starts[0], first - 8), last)]
        ends = [end for end in ends if end >= first]
        if ends:
            return min(ends, key=lambda end: abs(end - aim))
    return aim


def _decode(data: bytes) -> str | None:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _decode_legacy(data)
    return _decode_utf16(data) if "\0" in text else text


def _decode_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: Western text has zeros at every other byte."""
    head = data[:4096]
    for encoding, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if zeros.count(0) > 0.4 * len(zeros) and others.count(0) < 0.02 * len(others):
            return data.decode(encoding, "replace")
    return None


def _decode_legacy(data: bytes) -> str:
    """Western European text is mostly ASCII; in other scripts most bytes are not, and statistics tell which it is."""
    head = data[:65536]
    high = sum(byte >= 0x80 for byte in head)
    if high >= 0.5 * sum(byte > 0x20 for byte in head):
        best = from_bytes(data, cp_isolation=list(_LEGACY)).best()
        if best is not None:
            return str(best)
    return data.decode("cp1252", "replace")


def _looks_binary(text: str) -> bool:
    head = text[:4096]
    odd = sum((char < " " and char not in "\t\n\r\f\x1b") or char == "\ufffd" for char in head)
    return odd > 3 + 0.05 * len(head)
