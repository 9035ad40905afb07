"""Translates filters that are mappings into Milvus' filter language, and writes values as its literals.

    {"kind": "clip", "start_s": {"$gte": 3, "$lt": 9}, "source": {"$prefix": "/photos/"}, "metadata.city": ["Rome"]}

A plain value means equal, a list means one of several, None means absent, and {"$has": "beach"} means that a list in
the metadata contains the value. All conditions must hold. Dots after `metadata` lead into nested values. A chunk that
lacks a field matches no condition on it except None, not even `$ne`. `source` is the uri of a source; for an item it is
also the source that its metadata names.

Every value in a filter is written by `literal`, including ids. pymilvus joins ids unescaped, so that an id could read
or delete other rows, Milvus Lite has no templates, and JSON's escapes differ from those of Milvus.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from florence_rag.errors import InputError
from florence_rag.index.base import Filter
from florence_rag.index.lite.metadata import flat_path
from florence_rag.index.text_codec import clean, encode_uri
from florence_rag.types import KINDS, Kind, item_uri

Scalar = str | bool | int | float

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LAST = "\U0010ffff"
_COMPARISONS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = (*_COMPARISONS, "$in", "$prefix", "$has")


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


def expression(
    filter: Filter | None = None,
    kinds: Collection[Kind] | None = None,
    *,
    match_item_source: bool = True,
    flat: bool = False,
) -> str:
    """Combine the filter and the kinds into one Milvus expression, or return "" if there is no restriction.

    match_item_source: whether `source` also matches the source that an item's metadata names, not only its uri. flat:
    whether the store has flat metadata, as Milvus Lite needs them.
    """
    parts = []
    if kinds is not None:
        if isinstance(kinds, str) or not kinds:
            raise InputError(f"kinds is {kinds!r}; give a collection of {', '.join(KINDS)}, or None for all")
        parts.append(one_of("kind", sorted({_kind(kind) for kind in kinds})))
    if isinstance(filter, str):
        parts += [_closed(filter)] if filter.strip() else []
    elif isinstance(filter, Mapping):
        parts += (
            part
            for field, condition in filter.items()
            for part in _conditions(field, condition, match_item_source, flat)
        )
    elif filter is not None:
        raise InputError(f"a filter is a mapping or an expression, not {filter!r}")
    return " and ".join(f"({part})" for part in parts)


def _closed(raw: str) -> str:
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


def _conditions(field: str, condition: Any, match_item_source: bool, flat: bool) -> Iterator[str]:
    path, check = _field(field, flat)
    if not isinstance(condition, Mapping):
        condition = {"$in" if isinstance(condition, list | tuple | set | frozenset) else "$eq": condition}
    if not condition:
        raise InputError(f"filter field {field!r} has no condition; operators are {', '.join(_OPERATORS)}")
    for operator, value in condition.items():
        part = _condition(field, path, check, operator, value)
        yield _or_item_source(part, operator, value, flat) if match_item_source and field == "source" else part


def _or_item_source(part: str, operator: str, value: Any, flat: bool) -> str:
    """Widen a condition on the uri to the source that an item's metadata names."""
    if value is None:
        return part
    named, is_item = "metadata.source", starts_with("source", item_uri(""))
    if operator == "$ne":
        same = _condition(named, *_field(named, flat), "$eq", value)
        return f"{part} and not ({is_item} and {_present(_field(named, flat)[0])} and {same})"
    return f"({part}) or ({is_item} and ({_condition(named, *_field(named, flat), operator, value)}))"


def _condition(field: str, path: str, check: Callable[[Any], Scalar], operator: str, value: Any) -> str:
    if operator not in _OPERATORS:
        raise InputError(f"filter operator {operator!r} of {field!r} is unknown; use {', '.join(_OPERATORS)}")
    if value is None and operator in ("$eq", "$ne"):
        if operator == "$ne":
            return _present(path)
        return f"not (exists {path})" if "[" in path else f"{path} is null"
    if operator == "$in":
        if not isinstance(value, list | tuple | set | frozenset) or not value:
            raise InputError(f"filter operator '$in' of {field!r} needs a list of values, not {value!r}")
        checked_values = [check(each) for each in value]
        if field.startswith("metadata."):  # Lite takes `in` on plain fields only
            return " or ".join(f"{path} == {literal(each)}" for each in checked_values)
        return one_of(path, checked_values)
    checked = check(value)
    if operator == "$has":
        if not field.startswith("metadata."):
            raise InputError(f"filter operator '$has' asks what a list in the metadata holds; {field!r} is not a list")
        # This tests the JSON field itself, because Lite cannot search lists in its dynamic field.
        return f"json_contains({_field(field, False)[0]}, {literal(checked)})"
    if operator == "$prefix":
        if not isinstance(checked, str) or field == "kind":
            raise InputError(f"filter operator '$prefix' of {field!r} needs a text field, not {value!r}")
        return starts_with(path, checked)
    comparison = f"{path} {_COMPARISONS[operator]} {literal(checked)}"
    # Stores disagree on whether a missing JSON key is unequal to a value.
    return f"{_present(path)} and {comparison}" if operator == "$ne" else comparison


def _present(path: str) -> str:
    return f"(exists {path})" if "[" in path else f"{path} is not null"


def _field(field: str, flat: bool) -> tuple[str, Callable[[Any], Scalar]]:
    """Return the name of a field in Milvus and the function that checks a value for it."""
    if field in _CHECKS:
        return field, _CHECKS[field]
    keys = field.split(".") if isinstance(field, str) else [""]
    if keys[0] != "metadata" or len(keys) < 2:
        allowed = ", ".join(_CHECKS)
        raise InputError(f"filter field {field!r} is unknown; allowed are {allowed} and metadata.KEY")
    if any(not key or set(key) & set("\"'\\[]") or not key.isprintable() for key in keys):
        raise InputError(f"filter field {field!r} has a key that no filter can name; use letters, digits and spaces")
    return flat_path(keys[1:]) if flat else "metadata" + "".join(f'["{key}"]' for key in keys[1:]), _scalar


def _kind(value: Any) -> str:
    if value not in KINDS:
        raise InputError(f"kind {value!r} is unknown; kinds are {', '.join(KINDS)}")
    return str(value)


def _typed(*types: type, what: str) -> Callable[[Any], Any]:
    """Return a function that returns a value of one of these types, or raises InputError."""

    def check(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InputError(f"a filter compares {what}, not with {value!r}")
        return value

    return check


_text = _typed(str, what="id and source with text")
_number = _typed(int, float, what="start_s and end_s with a number of seconds")
_scalar = _typed(str, bool, int, float, what="metadata with text, a number or a truth value")
_CHECKS: Mapping[str, Callable[[Any], Scalar]] = {
    "id": _text,
    "kind": _kind,
    "source": lambda value: encode_uri(_text(value)),
    "page": _typed(int, what="page with a whole number"),
    "start_s": lambda value: float(_number(value)),
    "end_s": lambda value: float(_number(value)),
}
