"""What search tools share: checks of their arguments, and hits as a numbered list of text."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from florence_rag.errors import InputError
from florence_rag.tools.formatting import hit_to_text
from florence_rag.types import KINDS, Hit, Kind

MAX_K = 20
MAX_CHARACTERS = 600
"""The text limit of one result, so that a page does not crowd out the other results."""

CountArgument = Annotated[int, f"How many results, 1 to {MAX_K}."]
INDEX_FIELDS = ("kind", "source", "page", "start_s", "end_s")

KindsArgument = Annotated[list[Kind] | None, "Only these kinds of results; leave out for all."]
FilterArgument = Annotated[
    str | dict[str, Any] | None,
    'Only results that match, as JSON: {"city": "Rome", "year": {"$gte": 2020}}. Keys are those of files\' metadata, '
    f"and {', '.join(INDEX_FIELDS)}; a list means one of. Leave out unless you know the keys.",
]


def counted(hits: Collection[Hit], name: str) -> str:
    """Return a count with its noun, such as "1 result" or "2 results"."""
    return f"{len(hits)} {name}{'s' * (len(hits) != 1)}"


def check_k(k: int) -> int:
    """Return k; raise InputError if it is out of range."""
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; it must lie between 1 and {MAX_K}")
    return k


def check_kinds(kinds: Collection[Kind] | None) -> set[Kind] | None:
    """Return the kinds, or None for all; raise InputError for an unknown kind."""
    if unknown := sorted(set(kinds or ()) - set(KINDS)):
        raise InputError(f"unknown kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}")
    return set(kinds) if kinds else None


def check_filter(filter: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the filter as the index takes it; raise InputError if it is not a JSON object.

    An expression in the language of the store is never accepted from an agent, because it could express anything.
    """
    if filter is None or (isinstance(filter, str) and not filter.strip()):
        return None
    try:
        parsed = json.loads(filter) if isinstance(filter, str) else filter
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, Mapping):
        raise InputError(
            f'filter {filter!r:.80} is not a JSON object; write one such as {{"city": "Rome"}}, or leave it out'
        )
    return {_field(str(key)): condition for key, condition in parsed.items()} or None


def _field(key: str) -> str:
    return key if key in INDEX_FIELDS or key.startswith("metadata.") else f"metadata.{key}"


def check_text(text: str, name: str, advice: str) -> str:
    """Return the stripped text; raise InputError with the advice if it is empty."""
    if not text.strip():
        raise InputError(f"{name} is empty; {advice}")
    return text.strip()


def hits_to_text(hits: Sequence[Hit]) -> str:
    """Return a list numbered from 1, with what a model needs to cite a hit and to continue with it."""
    return "\n".join(f"{number}. id {hit.id}\n{_hit_to_text(hit)}" for number, hit in enumerate(hits, start=1))


def fenced(text: str) -> str:
    """Truncate text from a file, and mark it as quoted material."""
    return f"<<< {text[:MAX_CHARACTERS].replace('>>>', '')} >>>"


def _hit_to_text(hit: Hit) -> str:
    place, _, text = hit_to_text(hit).partition("\n")
    lines = [f"   {place}", f"   why: {hit.explanation}"]
    if text:
        lines.append(f"   {fenced(text)}")
    lines += [f"   also: id {other.id} {_difference(other, hit)}" for other in hit.grouped_hits[:3]]
    return "\n".join(lines)


def _difference(other: Hit, hit: Hit) -> str:
    """Return the locator of a grouped hit, or its file if it is from another one."""
    return str(other.locator) if other.source == hit.source else other.source
