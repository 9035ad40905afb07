"""Annotation files in JSON: what is wrong is told with the field and the record that it is in."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from florence_rag.errors import InputError

T = TypeVar("T")

_WORDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


def read_json(file: str | Path) -> Any:
    """The content; InputError for what is no JSON file in UTF-8."""
    path = Path(file).expanduser()
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be opened: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no JSON file: {error}") from error


def field(record: Any, name: str, kind: type[T], where: str) -> T:
    """record[name], if it is of that kind; InputError otherwise. where: what the record is, for the message.

    A whole number counts as a float, true and false as neither.
    """
    if not isinstance(record, dict):
        raise InputError(f"{where} is {record!r:.60}; it must be an object with the field {name!r}")
    if name not in record:
        there = ", ".join(map(repr, record)) or "none"
        raise InputError(f"{where} has no field {name!r}; its fields are {there:.200}")
    value = record[name]
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"the field {name!r} of {where} is {value!r:.60}; it must be {_WORDS[kind]}")
    return value  # type: ignore[no-any-return]


def records(content: Any, name: str, file: str | Path) -> list[tuple[Any, str]]:
    """The list under a name of a file's content, each record with what to call it in messages."""
    there = field(content, name, list, f"the file {str(file)!r}")
    if not there:
        raise InputError(f"the field {name!r} of the file {str(file)!r} is empty: there is nothing to evaluate")
    return [(record, f"{name}[{number}] of {str(file)!r}") for number, record in enumerate(there)]


def some(items: Sequence[T], limit: int | None) -> list[T]:
    """All, or so many of them, drawn always the same way, in their order; a limit below 1 is an InputError."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit is {limit}; give at least 1")
    return [items[number] for number in sorted(random.Random(0).sample(range(len(items)), limit))]
