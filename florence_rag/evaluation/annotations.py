"""Annotation files in JSON and CSV: what is wrong is told with the field and the record that it is in."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping, Sequence
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


def read_table(file: str | Path, columns: Sequence[str]) -> list[tuple[Mapping[str, str | None], str]]:
    """The rows of a CSV file whose first row names its columns, each with what to call it in messages.

    InputError where it cannot be read, has no rows, or lacks one of these columns.
    """
    path = Path(file).expanduser()
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(file)!r} cannot be read as a CSV file in UTF-8: {error}") from error
    named = f"its columns must be {', '.join(columns)}"
    if not rows:
        raise InputError(f"{str(file)!r} lists nothing; {named}")
    if missing := [name for name in columns if name not in rows[0]]:
        raise InputError(f"{str(file)!r} has no column {missing[0]!r}; {named}")
    return [(row, f"row {number} of {str(file)!r}") for number, row in enumerate(rows, start=2)]


def cell(row: Mapping[str, str | None], name: str, where: str) -> str:
    """What stands in a column of a row, without spaces around it; InputError where nothing does."""
    said = (row[name] or "").strip()
    if not said:
        raise InputError(f"the field {name!r} of {where} is empty")
    return said


def some(items: Sequence[T], limit: int | None) -> list[T]:
    """All, or so many of them, drawn always the same way, in their order; a limit below 1 is an InputError."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit is {limit}; give at least 1")
    return [items[number] for number in sorted(random.Random(0).sample(range(len(items)), limit))]
