"""Writes values and simple conditions in Milvus' filter language.

Every value in an expression is written by `literal`, including ids. pymilvus joins ids unescaped, so that an id could
read or delete other rows, Milvus Lite has no templates, and JSON's escapes differ from those of Milvus.
"""

import math
from collections.abc import Iterable

from florence_rag.errors import InputError
from florence_rag.text_arguments import clean

Scalar = str | bool | int | float

NOTHING = 'id == ""'
"""A condition that no row meets, because ids are not empty."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LAST = "\U0010ffff"
_CHAINED = 3


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
    if not stem:
        return lower
    following = ord(stem[-1]) + 1
    upper = stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are not characters
    return f"{lower} and {field} < {literal(upper)}"


def all_of(parts: Iterable[str]) -> str:
    """Join expressions by "and"; "" stands for no restriction."""
    return _joined(" and ", [part for part in parts if part])


def any_of(parts: Iterable[str]) -> str:
    """Join expressions by "or"; "" stands for no restriction, and no parts for NOTHING."""
    known = [part for part in dict.fromkeys(parts) if part != NOTHING]
    return "" if "" in known else _joined(" or ", known) or NOTHING


def closed(raw: str) -> str:
    """Return a raw expression whose parentheses and quotes are closed, so that it can be joined with others."""
    depth, quote, escaped = 0, "", False
    for character in raw:
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if depth or quote:
        raise InputError(f"filter {raw!r} has a parenthesis or a quote without its partner; add or remove one")
    return raw


def _joined(operator: str, parts: list[str]) -> str:
    """Join expressions as a balanced tree, because a server nests a chain, and refuses one of more than 45."""
    if len(parts) > _CHAINED:
        half = len(parts) // 2
        parts = [_joined(operator, some) for some in (parts[:half], parts[half:])]
    return parts[0] if len(parts) == 1 else operator.join(f"({part})" for part in parts)
