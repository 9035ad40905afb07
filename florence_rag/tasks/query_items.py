"""Reads examples that people and agents name: ids of chunks, files and texts, with a region or a weight behind them."""

import re
from collections.abc import Iterable, Sequence

from florence_rag.chunking import ImageInput
from florence_rag.chunking.image_string import decode_image_string, is_inline_image
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.index.base import ChunkReader
from florence_rag.retrieval.query import QueryPart
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.text_arguments import to_path
from florence_rag.types import is_chunk_id

Item = str | ImageInput
"""The id of an indexed chunk, a file, pixels, or a text."""

_NUMBER = r"[-+]?[\d.]+(?:e[-+]?\d+)?|nan|[-+]?inf"
_DETAILS = re.compile(
    rf"(?P<item>.+?)(?:@(?P<box>(?:{_NUMBER})(?:,(?:{_NUMBER})){{3}}))?(?:\^(?P<weight>{_NUMBER}))?",
    re.DOTALL | re.IGNORECASE,
)


def read_examples(
    index: ChunkReader, like: Sequence[str], unlike: Sequence[str] = (), *, files: bool
) -> list[QueryPart]:
    """Return examples such as "cars", "7f3a", "street.jpg@0,0,0.5,1" or "at night^0.5" as parts of a query.

    Args:
        index: Knows the ids.
        like: Examples, each with an optional region after "@" and an optional weight after "^".
        unlike: The same, to avoid.
        files: Whether an example may name a file on this machine.

    Raises:
        InputError: If an example is wrong.
    """
    matches = [_DETAILS.fullmatch(text) for text in (*like, *unlike)]
    found = [match for match in matches if match]
    if len(found) < len(matches):
        raise InputError("an example is empty; give an id, a file or a text")
    items = read_items(index, [match["item"] for match in found], files=files)
    signs = [1] * len(like) + [-1] * len(unlike)
    return [_with_details(*each) for each in zip(items, found, signs, strict=True)]


def read_items(index: ChunkReader, items: Iterable[Item], *, files: bool) -> list[QueryPart]:
    """Read each text as an id if there is such a chunk, else as a file if there is one, else as a description."""
    decoded = [
        decode_image_string(item) if isinstance(item, str) and (files or is_inline_image(item)) else item
        for item in items
    ]
    known = {hit.id for hit in index.get([item for item in decoded if isinstance(item, str) and item])}
    return [_read_item(item, known, files) for item in decoded]


def _read_item(item: Item, known: set[str], files: bool) -> QueryPart:
    if isinstance(item, str) and item in known:
        return QueryPart(id=item)
    if not isinstance(item, str) or (files and _names_file(item)):
        return QueryPart(image=item)
    if is_chunk_id(item):
        raise unknown_chunk_error(item)
    return QueryPart(item)


def _names_file(text: str) -> bool:
    """Return whether a text is the path of a file, or ends like one, in which case a missing file is an error."""
    path = to_path(text)
    try:
        return path.is_file() or path.suffix.lower() in MEDIA_BY_SUFFIX
    except (OSError, ValueError):
        return False


def _with_details(part: QueryPart, match: re.Match[str], sign: int) -> QueryPart:
    box = None if match["box"] is None else [_number(edge) for edge in match["box"].split(",")]
    weight = 1.0 if match["weight"] is None else _number(match["weight"])
    if not weight > 0:
        raise InputError(f"the weight of {match['item']!r:.80} is {weight!r}; give one above 0")
    return QueryPart(part.text, part.image, part.id, box, sign * weight)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a number; give a region as @0.1,0.2,0.5,0.9 and a weight as ^0.5") from error
