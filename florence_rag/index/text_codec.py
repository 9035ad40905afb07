"""Converts text to the forms in which it is stored and searched."""

import re
import unicodedata

from florence_rag.tokenize import fold, stem, words

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("\0([0-9a-f]{4})")


def clean(text: str) -> str:
    """Return the text as valid Unicode; lone surrogates become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def truncate(text: str, max_bytes: int) -> str:
    """Return the text, truncated between two characters so that it fits into max_bytes of UTF-8."""
    # Milvus Lite counts characters where a server counts bytes: bytes fit into both.
    return text.encode()[:max_bytes].decode(errors="ignore")


def encode_uri(uri: str) -> str:
    """Return the uri as valid Unicode.

    Python reads bytes of file names that are not UTF-8 as lone surrogates, which no store takes. Each is written as
    NUL, which no file name contains, and four hex digits.
    """
    return _LONE_SURROGATE.sub(lambda found: f"\0{ord(found[0]):04x}", uri)


def decode_uri(stored: str) -> str:
    """Invert `encode_uri`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored)


def query_terms(text: str) -> str:
    """Return the terms of a query: stems of words, and pairs of characters for scripts written without spaces.

    No analyzer of Milvus Lite splits such scripts, so the index splits queries and documents in the same way.
    """
    return " ".join(map(stem, words(clean(text))))


def document_terms(text: str, max_bytes: int) -> str:
    """Return the terms of a document: those of a query, and single characters of scripts written without spaces."""
    singles = (each for each in fold(clean(text)) if each.isalnum() and unicodedata.east_asian_width(each) == "W")
    terms = " ".join((query_terms(text), *singles)).strip()
    kept = truncate(terms, max_bytes)
    return kept if kept == terms else kept.rpartition(" ")[0]
