"""Reads JSON, CSV and JSON Lines files; a mistake in one is reported with its record and its field."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from florence_rag.errors import InputError
from florence_rag.sources import MEDIA_BY_SUFFIX

T = TypeVar("T")
Id = int | str
Row = Mapping[str, str]
"""A row of a table: its cells without surrounding spaces, by the lower-case names of their columns."""

_TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "an object"}
_COLUMN_NAMES = {"image", "video", "path", "file", "text", "caption", "label", "class"}


def read_json(file: str | Path) -> Any:
    """Return the content of a JSON file in UTF-8; raise InputError if it is not one."""
    path = Path(file).expanduser()
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be opened: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{str(path)!r} is not a JSON file: {error}") from error


def field(record: Any, name: str, kind: type[T], where: str, default: T | None = None) -> T:
    """Return a field of a JSON object; raise InputError if it is missing or has another type.

    An integer counts as a float, true and false as neither. `where` names the record in error messages, such as
    "images[3] of 'a.json'". A missing field or null becomes the default, if there is one.
    """
    value = _value(record, name, where, default)
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or isinstance(value, bool):
        raise InputError(f"the field {name!r} of {where} is {value!r:.60}; it must be {_TYPE_NAMES[kind]}")
    return value  # type: ignore[no-any-return]


def id_field(record: Any, name: str, where: str, default: Id | None = None) -> Id:
    """Return a field that identifies a record, an integer or a string, after checking its type."""
    value = _value(record, name, where, default)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise InputError(f"the field {name!r} of {where} is {value!r:.60}; it must be an integer or a string")
    return value


def text_field(record: Any, name: str, where: str) -> str:
    """Return a field that holds a string with more than spaces."""
    text = field(record, name, str, where)
    if not text.strip():
        raise InputError(f"the field {name!r} of {where} is empty")
    return text


def _value(record: Any, name: str, where: str, default: object) -> Any:
    if not isinstance(record, dict):
        raise InputError(f"{where} is {record!r:.60}; it must be an object with the field {name!r}")
    if default is not None and record.get(name) is None:
        return default
    if name not in record:
        names = ", ".join(map(repr, record)) or "none"
        raise InputError(f"{where} has no field {name!r}; its fields are {names:.200}")
    return record[name]


def records(content: Any, name: str, file: str | Path, *, allow_empty: bool = False) -> list[tuple[Any, str]]:
    """Return the list in a field of a file's content, each record with its name in error messages."""
    rows = field(content, name, list, f"the file {str(file)!r}")
    if not rows and not allow_empty:
        raise InputError(f"the field {name!r} of the file {str(file)!r} is empty; it must list at least one record")
    return [(row, f"{name}[{number}] of {str(file)!r}") for number, row in enumerate(rows)]


def read_table(
    file: str | Path, *, required: Sequence[str] = (), default_header: Sequence[str] = ()
) -> Iterator[tuple[Row, str]]:
    """Yield the rows of a CSV or JSON Lines file, each with its name in error messages.

    Args:
        file: A file in UTF-8; its suffix is .jsonl, or it is a CSV file.
        required: The columns that the table must have; a table with required columns must have rows, too.
        default_header: The columns of a CSV file without a header. By default its first row is the header.
    """
    path = Path(file).expanduser()
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as text in UTF-8: {error}") from error
    rows = _json_lines(text, path) if path.suffix.lower() == ".jsonl" else _csv_rows(text, path, default_header)
    expected, empty = f"its columns must be {', '.join(required)}", True
    for row, where in rows:
        if missing := [name for name in required if name not in row]:
            raise InputError(f"{str(file)!r} has no column {missing[0]!r}; {expected}")
        empty = False
        yield row, where
    if empty and required:
        raise InputError(f"{str(file)!r} lists nothing; {expected}")


def _csv_rows(text: str, path: Path, default_header: Sequence[str]) -> Iterator[tuple[Row, str]]:
    try:
        cells = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise InputError(f"{str(path)!r} is not a CSV file: {error}") from error
    header = [cell.casefold() for cell in cells[0]] if cells else []
    first = 1
    if default_header and not _is_header(header):
        header, first = list(default_header), 0
    for number, row in enumerate(cells[first:], start=first + 1):
        if any(row[len(header) :]):
            raise InputError(f"row {number} of {str(path)!r} is {row!r:.80}; it must have {len(header)} cells")
        if any(row):
            yield dict(zip(header, [*row, *[""] * len(header)], strict=False)), f"row {number} of {str(path)!r}"


def _is_header(cells: Sequence[str]) -> bool:
    """Return whether a row names columns; a file name in its first cell shows that it does not."""
    return not _COLUMN_NAMES.isdisjoint(cells) and Path(cells[0]).suffix not in MEDIA_BY_SUFFIX


def _json_lines(text: str, path: Path) -> Iterator[tuple[Row, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"line {number} of {str(path)!r}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{where} is {record!r:.60}; it must be an object")
        yield {str(key).casefold(): "" if value is None else str(value) for key, value in record.items()}, where


def cell(row: Row, name: str, where: str) -> str:
    """Return a cell of a row; raise InputError if it is empty."""
    if not row[name]:
        raise InputError(f"the field {name!r} of {where} is empty")
    return row[name]


def find_json(folder: Path, word: str) -> tuple[Path, ...]:
    """Return the JSON files below a folder whose names contain a word, sorted."""
    return tuple(sorted(path for path in folder.rglob("*.json") if word in path.name.casefold()))


def splits_by_name(files: Sequence[Path]) -> dict[Path, str]:
    """Return "val" for the files with "val" in their names and "train" for the others, or "" if all are of one kind."""
    is_val = {path: "val" in path.name.casefold() for path in files}
    if len(set(is_val.values())) < 2:
        return dict.fromkeys(files, "")
    return {path: "val" if val else "train" for path, val in is_val.items()}


def evaluation_files(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files with "val" in their names, or all if that holds for none or for all of them."""
    return tuple(path for path, split in splits_by_name(files).items() if split != "train")


def sample_items(items: Sequence[T], limit: int | None) -> list[T]:
    """Return all items, or a fixed random sample of `limit` of them in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1")
    return [items[number] for number in sorted(random.Random(0).sample(range(len(items)), limit))]
