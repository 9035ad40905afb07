"""Writes values as literals of Milvus' filter language.

Every value in a filter is written here, including ids. pymilvus joins ids unescaped, so that an id could read or delete
other rows, Milvus Lite has no templates, and JSON's escapes differ from those of Milvus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from florence_rag.errors import InputError
from florence_rag.index.text_codec import clean

Scalar = str | bool | int | float

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LAST = "\U0010ffff"


def literal(value: Scalar) -> str:
    """Return the value as a filter contains it."""
    if isinstance(value, str):
        return f'"{clean(value).translate(_ESCAPES)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if not math.isfinite(value):
        raise InputError(f"a filter cannot compare with {value!r}; use a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"a filter cannot compare with {value!r}; whole numbers have 64 bits")
    return repr(value)


def one_of(field: str, values: Iterable[Scalar]) -> str:
    """Return the filter "field is one of these values"."""
    return f"{field} in [{', '.join(map(literal, values))}]"


def starts_with(field: str, prefix: str) -> str:
    """Return the filter "field starts with this prefix", as a range, because Lite cannot escape % and _ in `like`."""
    prefix = clean(prefix)
    lower = f"{field} >= {literal(prefix)}"
    stem = prefix.rstrip(_LAST)
    return f"{lower} and {field} < {literal(stem[:-1] + _next_character(stem[-1]))}" if stem else lower


def _next_character(character: str) -> str:
    code = ord(character) + 1
    return chr(0xE000 if code == 0xD800 else code)  # surrogates are not characters
