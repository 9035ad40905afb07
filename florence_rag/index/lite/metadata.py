"""Metadata laid flat, so that Milvus Lite can filter by them.

Under a filter on a JSON field Lite turns every row into Python objects, its vector included: 40 ms per thousand rows of
512 numbers. Of its dynamic field it reads that field alone: 2 ms. So the metadata lie there, too, each value under its
path, and what a mapping asks of metadata is asked of these. A field that an expression names and nobody has would be
looked for there as well, and never found; so names are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from florence_rag.errors import InputError
from florence_rag.index.rows import STORED_FIELDS, Row

_FIELD = "metadata"
_FIELDS = {*STORED_FIELDS, "has_text_vector", "text_vector", "bm25", "$meta"}
_WORDS = {"and", "or", "not", "in", "like", "is", "null", "exists", "true", "false"}
_TEXT = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """, re.VERBOSE | re.DOTALL)
_NAME = re.compile(r"(?<![\w.])[$A-Za-z_]\w*(?!\w|\s*\()")  # and no function


def with_flat_metadata(row: Row) -> Row:
    """The row, its metadata also flat."""
    return row | dict(_flat([_FIELD], row.get(_FIELD, {})))


def without_flat_metadata(row: Row) -> Row:
    """The row as `with_flat_metadata` is to get it where it takes the place of one with these metadata: an upsert of
    Lite keeps what it does not name."""
    return row | {path: None for path, _ in _flat([_FIELD], row.get(_FIELD, {}))}


def flat_path(keys: Sequence[str]) -> str:
    """How a filter names the value at the path of keys below the metadata."""
    return f'$meta["{".".join((_FIELD, *keys))}"]'


def check_names(expression: str) -> None:
    """InputError for an expression that names a field which no row has."""
    for name in _NAME.findall(_TEXT.sub(" ", expression)):
        if name not in _FIELDS and name.lower() not in _WORDS:
            raise InputError(
                f"Milvus does not understand the filter {expression!r}: there is no field {name!r}; "
                f"use {', '.join(STORED_FIELDS)}"
            )


def _flat(path: list[str], values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if "." in key:  # which filters read as a step
            continue
        if isinstance(value, Mapping):
            yield ".".join((*path, key)), []  # is there, and equals nothing that a filter can ask for
            yield from _flat([*path, key], value)
        else:
            yield ".".join((*path, key)), value
