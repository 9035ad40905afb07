"""What tools that find things share: the limits of a call, and hits as a numbered list in words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from florence_rag.errors import InputError
from florence_rag.tools.formatting import hit_to_text
from florence_rag.types import KINDS, Hit, Kind

MAX_K = 20
MAX_CHARACTERS = 600
"""Of one result: a page of text must not crowd out the other results."""

CountArgument = Annotated[int, f"How many results, 1 to {MAX_K}."]
OWN_FIELDS = ("kind", "source", "page", "start_s", "end_s")

KindsArgument = Annotated[list[Kind] | None, "Only these kinds of results; leave out for all."]
FilterArgument = Annotated[
    str | dict[str, Any] | None,
    'Only results that fit, as JSON: {"city": "Rome", "year": {"$gte": 2020}}. Keys are those of the files\' metadata, '
    f"and {', '.join(OWN_FIELDS)}; a list means one of. Leave out unless you know the keys.",
]


def counted(hits: Collection[Hit], name: str) -> str:
    """ "1 result", "2 results"."""
    return f"{len(hits)} {name}{'s' * (len(hits) != 1)}"


def check_k(k: int) -> int:
    """InputError where it is out of range."""
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; it must lie between 1 and {MAX_K}")
    return k


def check_kinds(kinds: Collection[Kind] | None) -> set[Kind] | None:
    """None for all; InputError for one that does not exist."""
    if unknown := sorted(set(kinds or ()) - set(KINDS)):
        raise InputError(f"unknown kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}")
    return set(kinds) if kinds else None


def check_filter(filter: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As the index takes it; InputError where it is no JSON object. What is in it, the index checks.

    An expression in the language of the store is never taken from an agent: it could say anything.
    """
    if filter is None or (isinstance(filter, str) and not filter.strip()):
        return None
    try:
        given = json.loads(filter) if isinstance(filter, str) else filter
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, Mapping):
        raise InputError(
            f'filter {filter!r:.80} is no JSON object; write one such as {{"city": "Rome"}}, or leave it out'
        )
    return {_field(str(key)): condition for key, condition in given.items()} or None


def _field(key: str) -> str:
    return key if key in OWN_FIELDS or key.startswith("metadata.") else f"metadata.{key}"


def check_words(words: str, name: str, wanted: str) -> str:
    """The words; InputError where there are none, which says what is wanted."""
    if not words.strip():
        raise InputError(f"{name} is empty; {wanted}")
    return words.strip()


def hits_to_text(hits: Sequence[Hit]) -> str:
    """Numbered from 1, with what is needed to cite a hit and to go on with it."""
    return "\n".join(f"{number}. id {hit.id}\n{_hit_to_text(hit)}" for number, hit in enumerate(hits, start=1))


def fenced(words: str) -> str:
    """Words of a file, cut, and marked as material."""
    return f"<<< {words[:MAX_CHARACTERS].replace('>>>', '')} >>>"


def _hit_to_text(hit: Hit) -> str:
    place, _, words = hit_to_text(hit).partition("\n")
    lines = [f"   {place}", f"   why: {hit.explanation}"]
    if words:
        lines.append(f"   {fenced(words)}")
    lines += [f"   also: id {moment.id} {_apart(moment, hit)}" for moment in hit.grouped_hits[:3]]
    return "\n".join(lines)


def _apart(moment: Hit, hit: Hit) -> str:
    """What tells a moment from its hit: its place in the same file, or another file."""
    return str(moment.locator) if moment.source == hit.source else moment.source
