"""The checksum that a row carries, by which silent corruption is found.

It has two halves. The first covers what cannot be computed again: the content of an item that a program added exists
nowhere else. The second covers the vectors and the other fields that follow from the content.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from florence_rag.index.rows import HIT_FIELDS, NULLABLE_FIELDS

CHECKSUM = "checksum"
"""The field of a row that holds its checksum; rows of version 2 of the schema have none."""

CHECKSUM_CHARACTERS = 32
VECTOR_FIELDS = ("vector", "text_vector")

_DERIVED_FIELDS = (*NULLABLE_FIELDS, "terms", "has_text_vector")
_HALF = CHECKSUM_CHARACTERS // 2
_JSON = json.JSONEncoder(sort_keys=True)

Verdict = Literal["intact", "unknown", "derived", "content"]
"""Whether a row is intact, has no checksum, or is damaged: only in fields that can be computed again, or anywhere."""


DAMAGED: tuple[Verdict, ...] = ("derived", "content")


def row_checksum(row: Mapping[str, Any]) -> str:
    """Return the checksum of a row with vectors in the precision in which they are stored."""
    vectors = [np.asarray(row[name], np.float32).tobytes() for name in VECTOR_FIELDS if name in row]
    return _digest(row, HIT_FIELDS) + _digest(row, _DERIVED_FIELDS, *vectors)


def verify(row: Mapping[str, Any]) -> Verdict:
    """Compare a row, with decoded vectors, with the checksum that it carries."""
    if not (recorded := row.get(CHECKSUM)):
        return "unknown"
    expected = row_checksum(row)
    if recorded == expected:
        return "intact"
    return "derived" if str(recorded)[:_HALF] == expected[:_HALF] else "content"


def _digest(row: Mapping[str, Any], fields: Sequence[str], *data: bytes) -> str:
    values = [row.get(name) for name in fields]
    values = [float(value) if isinstance(value, int) else value for value in values]  # the store returns 3 as 3.0
    digest = blake2b(_JSON.encode(values).encode(), digest_size=_HALF // 2)
    for each in data:
        digest.update(each)
    return digest.hexdigest()
