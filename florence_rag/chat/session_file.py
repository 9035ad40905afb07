"""Saves conversations as JSON, and loads them again from files that anybody may have written.

A file holds the ids of hits, not the hits: loaded ones come from the index, so that a file can name no other file of
this machine. Texts, numbers and sizes are checked, and unknown names are errors.
"""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, get_args, get_type_hints

from florence_rag.chat.turn import Turn
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkReader
from florence_rag.text_arguments import check_text, to_path
from florence_rag.types import KINDS, Answer, Citation, Locator

VERSION = 1
MAX_BYTES = 64_000_000
MAX_TURNS = 10_000
MAX_HITS = 1_000
_STATUSES = get_args(get_type_hints(Answer)["status"])
_IMAGE_PREFIX = "data:image/jpeg;base64,"


def save_turns(path: str | PathLike[str], turns: Sequence[Turn]) -> None:
    """Write turns to a file; an existing one is replaced only when all is written."""
    text = json.dumps(
        {"florence_rag_chat": VERSION, "turns": [turn_to_dict(turn) for turn in turns]}, ensure_ascii=False, indent=1
    )
    file = to_path(path)
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.write_text(text, "utf-8", errors="backslashreplace")
        partial.replace(file)
    except (OSError, ValueError) as error:
        raise InputError(f"the conversation cannot be saved as {str(file)!r}: {error}") from error


def turn_to_dict(turn: Turn) -> dict[str, Any]:
    """Return a turn, ready for JSON, with the ids of its hits."""
    return {**turn.to_dict(), "hits": [hit.id for hit in turn.hits]}


def load_turns(path: str | PathLike[str], index: ChunkReader) -> list[Turn]:
    """Return the turns of a file; hits that the index no longer has are left out, and their numbers move up."""
    file = to_path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"the conversation {str(file)!r} cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"the conversation {str(file)!r} has more than {MAX_BYTES:,} bytes; it is not one of ours")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} is not a saved conversation: {error}") from None
    try:
        return turns_from_dict(content, index)
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{str(file)!r} is not a saved conversation: {reason}") from None


def turns_from_dict(content: Any, index: ChunkReader) -> list[Turn]:
    """Return the turns of a decoded file."""
    if not isinstance(content, Mapping) or content.get("florence_rag_chat") != VERSION:
        raise InputError(f'it has no "florence_rag_chat": {VERSION}')
    rows = content["turns"]
    if not isinstance(rows, list) or len(rows) > MAX_TURNS:
        raise InputError(f"turns must be a list of at most {MAX_TURNS:,}")
    return [turn_from_dict(row, index) for row in rows]


def turn_from_dict(row: Mapping[str, Any], index: ChunkReader) -> Turn:
    """Return one turn, whose hits are looked up by their ids; raise InputError if a value is wrong."""
    fields = dict(row)
    ids = fields.pop("hits")
    if not isinstance(ids, list) or len(ids) > MAX_HITS:
        raise InputError(f"hits must be a list of at most {MAX_HITS:,} ids")
    hits = tuple(index.get([check_text(id, "id") for id in ids]))
    for name in ("question", "query", "similar_to", "source", "error"):
        fields[name] = check_text(fields.get(name, ""), name)
    for name in ("image", "search_image"):
        image = fields.get(name, "")
        if not isinstance(image, str) or (image and not image.startswith(_IMAGE_PREFIX)):
            raise InputError(f"{name} must be a JPEG as a data URI")
    lists = {name: tuple(fields.pop(name, ())) for name in ("images", "kinds")}
    if unknown := set(lists["kinds"]) - set(KINDS):
        raise InputError(f"kinds has {min(unknown)!r:.40}; it may have {', '.join(KINDS)}")
    return Turn(**{**fields, **lists, "answer": _answer_from_dict(fields["answer"]), "hits": hits})


def _answer_from_dict(row: Mapping[str, Any]) -> Answer:
    fields = {name: value for name, value in row.items() if name not in ("cached_from", "claims")}
    fields["answer"] = check_text(fields["answer"], "answer")
    if fields.setdefault("status", "answered") not in _STATUSES:
        raise InputError(f"status is {fields['status']!r:.40}; it must be one of {', '.join(_STATUSES)}")
    for name in ("citations", "considered"):
        fields[name] = tuple(_citation_from_dict(each) for each in fields.get(name, ()))
    fields["candidates"] = tuple((text, score) for text, score in fields.get("candidates", ()))
    return Answer(**fields)


def _citation_from_dict(row: Mapping[str, Any]) -> Citation:
    return Citation(**{**row, "locator": Locator.from_dict(row["locator"])})
