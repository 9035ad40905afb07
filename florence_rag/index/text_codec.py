"""The forms in which text is stored and searched."""

from __future__ import annotations

import re
import unicodedata

from florence_rag.tokenize import fold, stem, words

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("\0([0-9a-f]{4})")


def clean(text: str) -> str:
    """The text as valid Unicode: halves of surrogate pairs that stand alone become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def truncate(text: str, max_bytes: int) -> str:
    """The text, cut between two characters so that it fits into max_bytes of UTF-8."""
    # Milvus Lite counts characters where a server counts bytes: bytes fit into both.
    return text.encode()[:max_bytes].decode(errors="ignore")


def encode_uri(uri: str) -> str:
    """The uri as valid Unicode. Python reads bytes of file names that are no UTF-8 as lone surrogates, which no store
    takes: each is written as NUL, which no file name contains, and four hex digits."""
    return _LONE_SURROGATE.sub(lambda found: f"\0{ord(found[0]):04x}", uri)


def decode_uri(stored: str) -> str:
    """The inverse of encode_uri."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored)


def query_terms(text: str) -> str:
    """What to look for: the words without their English endings, and of scripts that are written without spaces the
    pairs of characters. No analyzer of Milvus Lite splits those, so the index does, alike on both sides."""
    return " ".join(map(stem, words(clean(text))))


def document_terms(text: str, max_bytes: int) -> str:
    """What can be found: the same, and besides the pairs their single characters, as one alone is a fair query."""
    singles = (character for character in fold(clean(text)) if _is_wide_letter(character))
    terms = " ".join((query_terms(text), *singles)).strip()
    kept = truncate(terms, max_bytes)
    return kept if kept == terms else kept.rpartition(" ")[0]


def _is_wide_letter(character: str) -> bool:
    return unicodedata.east_asian_width(character) == "W" and character.isalnum()
