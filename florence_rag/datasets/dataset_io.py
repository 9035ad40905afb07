"""Reads JSON, CSV and JSON Lines files; a mistake in one is reported with its record and its field."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar, cast

from florence_rag.errors import InputError
from florence_rag.json_values import parse_json
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.text_arguments import to_path

T = TypeVar("T")
Id = int | str

_MAX_JSON_BYTES = 1_000_000_000
_MAX_LINE_CHARS = 10_000_000

_TYPE_NAMES: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    list: "a list",
    Id: "an integer or a string",
}
_COLUMN_NAMES = {"image", "video", "path", "file", "text", "caption", "label", "class"}


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a JSON file or a row of a table; `where` names it in errors, such as "images[3] of the file 'a'".

    A row has its cells without surrounding spaces, by the lower-case names of their columns.
    """

    fields: Any
    where: str

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """Return a field; raise InputError if it is missing or has another type.

        An integer counts as a float, true and false as neither. A missing field or null becomes the default, if there
        is one.
        """
        if not isinstance(self.fields, dict):
            raise InputError(f"{self.where} is {self.fields!r:.60}; it must be an object with the field {name!r}")
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if name not in self.fields:
            names = ", ".join(map(repr, self.fields)) or "none"
            raise InputError(f"{self.where} has no field {name!r}; its fields are {names:.200}")
        allowed: Any = int | float if kind is float else kind
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise InputError(f"the field {name!r} of {self.where} is {value!r:.60}; it must be {_TYPE_NAMES[kind]}")
        return cast(T, value)

    def id(self, name: str, default: Id | None = None) -> Id:
        """Return a field that identifies a record, an integer or a string, after checking its type."""
        return self.get(name, cast("type[Id]", Id), default)

    def text(self, name: str) -> str:
        """Return a field that holds a string with more than spaces."""
        text = self.get(name, str)
        if not text.strip():
            raise InputError(f"the field {name!r} of {self.where} is empty")
        return text

    def records(self, name: str, *, allow_empty: bool = False) -> list[Record]:
        """Return the records in a field that holds a list of them."""
        rows = self.get(name, list)
        if not rows and not allow_empty:
            raise InputError(f"the field {name!r} of {self.where} is empty; it must list at least one record")
        return [Record(row, f"{name}[{number}] of {self.where}") for number, row in enumerate(rows)]


def read_json(file: str | Path) -> Record:
    """Return the content of a JSON file; raise InputError if it is not one."""
    path = to_path(file)
    with _opened(path, mode="rb") as opened:
        data = opened.read(_MAX_JSON_BYTES + 1)
    if len(data) > _MAX_JSON_BYTES:
        raise InputError(f"{str(path)!r} has more than {_MAX_JSON_BYTES:,} bytes; split it into smaller files")
    try:
        return Record(parse_json(data), f"the file {str(file)!r}")
    except InputError as error:
        raise InputError(f"the file {str(path)!r} {error}") from error


@contextmanager
def _opened(path: Path, **options: Any) -> Iterator[Any]:
    """Open a regular file: a link in a data set may lead to a device, which never ends."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{str(path)!r} is not a regular file")
        with path.open(**options) as opened:
            yield opened
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} cannot be opened: {getattr(error, 'strerror', None) or error}") from error


def read_table(
    file: str | Path, *, required: Sequence[str] = (), default_header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a JSON Lines file, whose suffix is .jsonl, or of a CSV file, both in UTF-8.

    A table with `required` columns must also have rows. The first row of a CSV file is its header, unless there is a
    `default_header` and the first row does not name columns.
    """
    path = to_path(file)
    expected, empty = f"its columns must be {', '.join(required)}", True
    with _opened(path, encoding="utf-8-sig", newline="") as opened:
        lines = _lines(opened, path)
        rows = _json_lines(lines, path) if path.suffix.lower() == ".jsonl" else _csv_rows(lines, path, default_header)
        for row in rows:
            if missing := [name for name in required if name not in row.fields]:
                raise InputError(f"{str(file)!r} has no column {missing[0]!r}; {expected}")
            empty = False
            yield row
    if empty and required:
        raise InputError(f"{str(file)!r} lists nothing; {expected}")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a text in UTF-8 with their ends; raise InputError for one that is too long."""
    for number in count(1):
        try:
            line = file.readline(_MAX_LINE_CHARS + 1)
        except UnicodeDecodeError as error:
            raise InputError(f"{str(path)!r} cannot be read as text in UTF-8: {error}") from error
        if len(line) > _MAX_LINE_CHARS:
            raise InputError(f"line {number} of {str(path)!r} has more than {_MAX_LINE_CHARS:,} characters")
        if not line:
            return
        yield line


def _csv_rows(lines: Iterator[str], path: Path, default_header: Sequence[str]) -> Iterator[Record]:
    header: list[str] = []
    for number, row in enumerate(_csv_cells(lines, path), start=1):
        if number == 1:
            header = [cell.casefold() for cell in row]
            # A file name in the first cell shows that the first row is not a header.
            names_columns = not _COLUMN_NAMES.isdisjoint(header) and Path(header[0]).suffix not in MEDIA_BY_SUFFIX
            if names_columns or not default_header:
                continue
            header = list(default_header)
        if any(row[len(header) :]):
            raise InputError(f"row {number} of {str(path)!r} is {row!r:.80}; it must have {len(header)} cells")
        if any(row):
            yield Record(dict(zip_longest(header, row[: len(header)], fillvalue="")), f"row {number} of {str(path)!r}")


def _csv_cells(lines: Iterator[str], path: Path) -> Iterator[list[str]]:
    try:
        for row in csv.reader(lines):
            yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"{str(path)!r} is not a CSV file: {error}") from error


def _json_lines(lines: Iterator[str], path: Path) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        where = f"line {number} of {str(path)!r}"
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except InputError as error:
            raise InputError(f"{where} {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{where} is {record!r:.60}; it must be an object")
        yield Record({key.casefold(): "" if value is None else str(value) for key, value in record.items()}, where)


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


class HasSplit(Protocol):
    """An example that may name the part of the data set that it belongs to."""

    @property
    def split(self) -> str:
        """The name of the split, or ""."""
        ...


S = TypeVar("S", bound=HasSplit)


def select_split(examples: Sequence[S], split: str, data: str | Path, *, keep_unsplit: bool = False) -> list[S]:
    """Return the examples of a split, and also those without a split if `keep_unsplit`; raise InputError for none."""
    chosen = [each for each in examples if each.split == split or (keep_unsplit and not each.split)]
    if not chosen:
        splits = ", ".join(sorted({each.split for each in examples}))
        raise InputError(f"{str(data)!r} has no split {split!r}; it has {splits}")
    return chosen


def sample_items(items: Sequence[T], limit: int | None) -> list[T]:
    """Return all items, or a fixed random sample of `limit` of them in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1")
    return [items[number] for number in sorted(random.Random(0).sample(range(len(items)), limit))]
