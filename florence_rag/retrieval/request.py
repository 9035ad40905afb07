"""A search request, checked before anything is embedded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

from florence_rag.errors import InputError
from florence_rag.index.base import Filter
from florence_rag.types import KINDS, Kind

if TYPE_CHECKING:
    from florence_rag.retrieval.query import Query

MAX_COUNT = 16_384
"""The most hits that a Milvus server returns for one search."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """A query, the number of hits, and the chunks to search."""

    query: Query
    k: int
    kinds: frozenset[Kind]
    filter: Filter | None = None


def check_request(query: Query, k: int, kinds: Collection[Kind] | None, filter: Filter | None) -> SearchRequest:
    """Return the request; raise InputError if it is invalid."""
    return SearchRequest(query, check_count(k), check_kinds(kinds), filter)


def check_count(k: int) -> int:
    """Return k; raise InputError if it is not a whole number from 1 to MAX_COUNT."""
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise InputError(f"k must be a whole number of at least 1, got {k!r}")
    if k > MAX_COUNT:
        raise InputError(f"k must be at most {MAX_COUNT}, got {k!r:.80}")
    return int(k)


def check_relevance(value: float) -> float:
    """Return a relevance; raise InputError if it is not a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise InputError(f"min_relevance must be a number from 0 to 1, got {value!r:.80}")
    return float(value)


def check_kinds(kinds: Collection[Kind] | None) -> frozenset[Kind]:
    """Return the requested kinds; all kinds for None."""
    if kinds is None:
        return frozenset(KINDS)
    if not isinstance(kinds, Collection):
        raise InputError(f"kinds must be some of {', '.join(KINDS)}, got {kinds!r:.80}")
    requested: set[str] = {kinds} if isinstance(kinds, str) else set(map(str, kinds))
    known = frozenset(kind for kind in KINDS if kind in requested)
    if not requested or requested - known:
        raise InputError(f"kinds must be some of {', '.join(KINDS)}, got {sorted(requested)!r:.300}")
    return known
