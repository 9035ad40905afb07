"""Decodes text documents and HTML pages of any common encoding, and cuts them into passages at borders of sentences.

The libraries that extract the text of HTML fail on hostile or ordinary pages, as docs/log.md describes.
"""

import codecs
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path

import regex
from charset_normalizer import from_bytes

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.formats import HEAD_BYTES, describe_format, format_error
from florence_rag.errors import MediaError
from florence_rag.sources.io import is_path, open_uri
from florence_rag.types import Chunk, Locator, Source

MAX_FILE_BYTES = 16_000_000
"""The most bytes of one text document, which is held in memory. A novel has about one million."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LEGACY = ("cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256")
_CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = regex.compile(rf"(?:[{_IDEOGRAPH}]|[^\s{_IDEOGRAPH}]{{1,40}})\p{{M}}*")
_BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*|\n(?=#)"),  # paragraphs, headings
    regex.compile(r"[.…\p{SB=STerm}][\"'”’)\]]*\s+|[。！？][」』）]*\s*"),  # noqa: RUF001  sentences
    re.compile(r"\n\s*"),  # lines
)
_HTML_SUFFIXES = (".html", ".htm", ".xhtml")
_HIDDEN = frozenset(("script", "style", "template", "noscript", "svg", "title"))
_LINES = frozenset(("br", "li", "tr", "dt", "dd", "option", "caption"))
_PARAGRAPHS = frozenset(
    """address article aside blockquote body div dl fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr
    main nav ol p pre section table ul""".split()
)


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    """Yield one chunk per passage. Its span counts characters of the decoded text, or of the readable text of HTML."""
    data = read_bytes(source.uri)
    # URLs often lack a suffix, so their first bytes decide as well.
    if Path(source.uri).suffix.lower() in _HTML_SUFFIXES or (
        not is_path(source.uri) and describe_format(data[:HEAD_BYTES]) == "an HTML page"
    ):
        title, text = html_to_text(decode_html(data, source.uri))
    else:
        title, text = "", decode_text(data, source.uri)
    if not text.strip():
        raise MediaError(f"{source.uri!r} contains no text")
    metadata = {"title": title} if title else {}
    for start, end in split_passages(text, config.passage_words):
        yield Chunk(source, "text", Locator(span=(start, end)), text=text[start:end], metadata=metadata)


def read_bytes(path: str) -> bytes:
    """Return the whole file; raise MediaError if it is larger than MAX_FILE_BYTES."""
    with open_uri(path) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise MediaError(f"{path!r} has more than {MAX_FILE_BYTES:,} bytes of text; split it into smaller files")
    return data


def decode_text(data: bytes, name: str, sample: bytes = b"", legacy: str = "") -> str:
    """Return text with line feeds and without control characters; raise MediaError if the bytes are not text.

    Args:
        data: The bytes.
        name: The name of the file.
        sample: The part of the data whose characters tell its encoding, if the rest is markup.
        legacy: The encoding unless it is Unicode, if it is known.
    """
    text = _decode(data, sample or data, legacy)
    head = (text or "\0")[:4096]
    invalid = sum((char < " " and char not in "\t\n\r\f\x1b") or char == "\ufffd" for char in head)
    if text is None or "\0" in text or invalid > 3 + 0.05 * len(head):
        raise format_error(repr(name), data[:HEAD_BYTES], "text")
    return _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def decode_html(data: bytes, name: str) -> str:
    """Decode a page by the charset that it declares, or else as `decode_text` does."""
    declared = re.search(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w-]{1,40})", data[:4096], re.IGNORECASE)
    if declared and not data.startswith(tuple(mark for mark, _ in _BOMS)):
        try:
            return decode_text(data.decode(declared[1].decode("ascii")).encode("utf-8", "replace"), name)
        except (LookupError, UnicodeError):
            pass  # the declaration is wrong
    return decode_text(data, name)


def html_to_text(markup: str) -> tuple[str, str]:
    """Return the title and the visible text, with a blank line between blocks and images as their alternative text."""
    reader = _HTMLReader()
    # The closing tag flushes the parser. Its close() takes quadratic time on malformed markup.
    reader.feed(markup + "</html>")
    text = re.sub(r" ?\n ?", "\n", re.sub(r"[^\S\n]+", " ", "".join(reader.parts)))
    return " ".join("".join(reader.title).split()), re.sub(r"\n{3,}", "\n\n", text).strip()


def split_passages(text: str, words: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of consecutive passages of about this many words, cut at the strongest border nearby.

    An ideograph or kana counts as a word, and so do 40 characters without a space.
    """
    start = 0
    while starts := [match.start() for match in islice(_WORD.finditer(text, start), words * 2)]:
        start, is_last = starts[0], len(starts) <= words * 3 // 2
        end = len(text) if is_last else _border(text, starts, words)
        if words_of := text[start:end].rstrip():  # separators such as \x1d count as words of the pattern only
            yield start, start + len(words_of)
        start = end


def _border(text: str, starts: list[int], words: int) -> int:
    """Return where the next passage begins: after between half and one and a half times the wanted length."""
    target, first, last = starts[words], starts[words // 2], starts[words * 3 // 2]
    for border in _BORDERS:
        # The search begins a little before `first`, because a border precedes its word.
        ends = [match.end() for match in border.finditer(text, max(starts[0], first - 8), last)]
        ends = [end for end in ends if end >= first]
        if ends:
            return min(ends, key=lambda end: abs(end - target))
    return target


def _decode(data: bytes, sample: bytes, legacy: str) -> str | None:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode(legacy, "replace") if legacy else _decode_legacy(data, sample)
    return _decode_utf16(data) if "\0" in text else text


def _decode_utf16(data: bytes) -> str | None:
    """Decode UTF-16 without a byte order mark, recognized by the zeros of Western text at every other byte."""
    head = data[:4096]
    for encoding, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if zeros.count(0) > 0.4 * len(zeros) and others.count(0) < 0.02 * len(others):
            return data.decode(encoding, "replace")
    return None


def _decode_legacy(data: bytes, sample: bytes) -> str:
    """Decode as Western European if most bytes are ASCII; else by the statistics of other scripts."""
    head = sample[:65536]
    high = sum(byte >= 0x80 for byte in head)
    if high >= 0.5 * sum(byte > 0x20 for byte in head):
        best = from_bytes(sample, cp_isolation=list(_LEGACY)).best()
        if best is not None:
            return data.decode(best.encoding, "replace")
    return data.decode("cp1252", "replace")


class _HTMLReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self._hidden_tag = ""
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == self._hidden_tag or (tag in _HIDDEN and not self._hidden_tag):
            self._hidden_tag = tag
            self._depth += 1
        elif tag == "img":
            self.handle_data(f" {dict(attrs).get('alt') or ''} ")
        self._separate(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _HIDDEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden_tag:
            self._depth -= 1
            self._hidden_tag = tag if self._depth else ""
        elif tag not in _LINES:
            self._separate(tag)

    def handle_data(self, data: str) -> None:
        if self._hidden_tag == "title":
            self.title.append(data)
        elif not self._hidden_tag:
            self.parts.append(re.sub(r"\s+", " ", data))

    def parse_html_declaration(self, i: int) -> int:
        """End a declaration at the next ">", as HTML5 does. The inherited method raises for unknown declarations."""
        return self.parse_comment(i) if self.rawdata.startswith("<!--", i) else self.parse_bogus_comment(i)

    def _separate(self, tag: str) -> None:
        if self._hidden_tag:
            return
        if tag in _PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")
