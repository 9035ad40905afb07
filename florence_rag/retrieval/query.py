"""A search request, checked before anything is embedded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from florence_rag.errors import InputError
from florence_rag.types import KINDS, Frame, Kind


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A search request: a text, an image or both, and the kinds of chunks to find."""

    text: str
    image: Frame | None
    k: int
    kinds: frozenset[Kind]


def check_query(text: str | None, image: Frame | None, k: int, kinds: Collection[Kind] | None) -> Query:
    """Return the request as a Query; raise InputError if it is invalid."""
    if text is None and image is None:
        raise InputError("nothing to search for: give a text, an image, or both")
    if text is not None and not text.strip():
        raise InputError(f"the text of a query must not be empty, got {text!r}; leave it out to search by image")
    return Query((text or "").strip(), image, check_count(k), check_kinds(kinds))


def check_count(k: int) -> int:
    """Return k; raise InputError if it is not a positive whole number."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"k must be a whole number of at least 1, got {k!r}")
    return k


def check_kinds(kinds: Collection[Kind] | None) -> frozenset[Kind]:
    """Return the requested kinds; all kinds for None."""
    if kinds is None:
        return frozenset(KINDS)
    given: set[str] = {kinds} if isinstance(kinds, str) else set(kinds)
    chosen = frozenset(kind for kind in KINDS if kind in given)
    if not given or given - chosen:
        raise InputError(f"kinds must be some of {', '.join(KINDS)}, got {sorted(map(str, given))!r}")
    return chosen
