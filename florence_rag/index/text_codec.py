"""Converts text to the forms in which it is stored and searched."""

import re
from functools import lru_cache
from itertools import chain

from florence_rag.text_arguments import clean
from florence_rag.tokenize import Word, split_words, stem, unspaced_characters, words

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("\0([0-9a-f]{4})")


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
    """Return the terms of a query: of each word its stem, and that of its spelling if it has accents.

    So both spellings find a text, and the one of the query ranks first. No analyzer of Milvus Lite splits scripts
    without spaces or keeps marks, so the index splits queries and documents itself, in the same way.
    """
    if text.isascii():
        return " ".join(map(stem, words(text)))
    return " ".join(chain.from_iterable(map(_terms, split_words(clean(text)))))


def document_terms(text: str, max_bytes: int) -> str:
    """Return the terms of a document: those of a query, and single characters of scripts written without spaces."""
    terms = " ".join((query_terms(text), *map(_encode, unspaced_characters(clean(text))))).strip()
    kept = truncate(terms, max_bytes)
    return kept if kept == terms else kept.rpartition(" ")[0]


@lru_cache(maxsize=2**14)
def _terms(word: Word) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_encode(stem(form)) for form in (word.term, word.spelling)))


@lru_cache(maxsize=2**14)
def _encode(term: str) -> str:
    """Return a term as letters and digits, because analyzers split it at the marks of other scripts, and drop emoji."""
    return term if term.isalnum() else "".join(c if c.isalnum() else f"z{ord(c):x}" for c in term)
