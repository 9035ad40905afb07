"""Flat metadata, by which Milvus Lite can filter fast.

A filter on a JSON field makes Lite turn every row into Python objects, including its vector, in 40 ms per thousand rows
of 512 dimensions. Of its dynamic field it reads only the named value, in 2 ms. The dynamic field therefore holds the
metadata as well, each value under its path, and filters on metadata use these values. Lite would search an unknown
field of an expression there, too, and never find it, so this module also checks the names.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from florence_rag.errors import InputError
from florence_rag.index.filters import lookup
from florence_rag.index.rows import STORED_FIELDS, TEXT_VECTOR_FIELDS, Row

_FIELD = "metadata"
_FIELDS = {*STORED_FIELDS, *TEXT_VECTOR_FIELDS, "bm25", "$meta"}
_WORDS = {"and", "or", "not", "in", "like", "is", "null", "exists", "true", "false"}
_TEXT = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """, re.VERBOSE | re.DOTALL)
_NAME = re.compile(r"(?<![\w.])[$A-Za-z_]\w*(?!\w|\s*\()")  # and not a function


def with_flat_metadata(row: Row) -> Row:
    """Return the row with its metadata in flat form as well."""
    metadata = row.get(_FIELD, {})
    return row | {_flat_name(name): _flat_value(lookup(metadata, name)) for name in _names(metadata)}


def without_flat_metadata(row: Row) -> Row:
    """Return the row with null for each flat value, because an upsert of Lite keeps values that it does not name."""
    return row | {_flat_name(name): None for name in _names(row.get(_FIELD, {}))}


def flat_path(key: str) -> str:
    """Return what a filter calls the value of a key; dots in it may lead into nested mappings."""
    return f'$meta["{_flat_name(key)}"]'


def check_names(expression: str) -> None:
    """Raise InputError for an expression that names a field which no row has."""
    for name in names_in(expression):
        if name not in _FIELDS and name.lower() not in _WORDS:
            raise InputError(
                f"Milvus does not understand the filter {expression!r:.300}: there is no field {name!r}; "
                f"use {', '.join(STORED_FIELDS)}"
            )


def names_in(expression: str) -> list[str]:
    """Return the names of fields and the words of an expression."""
    return _NAME.findall(_TEXT.sub(" ", expression))


def _flat_name(key: str) -> str:
    return f"{_FIELD}.{key}"


def _flat_value(value: Any) -> Any:
    return [] if isinstance(value, Mapping) else value  # which exists, and equals no value of a filter


def _names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of all values, in which dots join the keys of nested mappings."""
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{key}.")
