"""Reads the files that data sets come in; what is missing in them is named, with the field."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from florence_rag.errors import InputError

T = TypeVar("T")


def read_json(path: Path) -> Any:
    """InputError for what is no JSON."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no JSON: {error}") from error


def listed(content: Any, field: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects in a field of a file's outermost object; InputError where there is none."""
    rows = content.get(field) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"{str(path)!r} has no list {field!r} in its outermost object")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{field}[{number}] of {str(path)!r} is {row!r:.60}; it must be an object")
    return rows


def field(row: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """The value of a field; InputError where it is missing or of another kind. where: such as "images[3] of a.json"."""
    if name not in row:
        raise InputError(f"{where} has no field {name!r}")
    if not isinstance(row[name], kinds) or isinstance(row[name], bool):
        raise InputError(f"the field {name!r} of {where} is {row[name]!r:.60}, which is of the wrong type")
    return row[name]


def table_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row of a CSV or JSONL file stands, and its columns, their names in lower case."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as text in UTF-8: {error}") from error
    if path.suffix.lower() == ".csv":
        for number, row in enumerate(csv.DictReader(text.splitlines(keepends=True)), start=2):
            named = {str(key).strip().casefold(): str(value or "").strip() for key, value in row.items() if key}
            yield f"row {number} of {str(path)!r}", named
        return
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"line {number} of {str(path)!r}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{where} is {record!r:.60}; it must be an object")
        yield where, {str(key).casefold(): "" if value is None else str(value) for key, value in record.items()}


def counted(names: Sequence[str], shown: int = 20) -> str:
    """How many they are, and the first of them: "3: blue, green, red"."""
    return f"{len(names)}: {', '.join(names[:shown])}{' ...' if len(names) > shown else ''}"


def left_out(items: Sequence[T], groups: Sequence[object], share: float, seed: int) -> tuple[list[T], list[T]]:
    """To learn from, and to look at in between: this share of each group, of one with two or more at least one of all.

    Both are shuffled; the same items are always parted in the same way.
    """
    rng = Random(seed)
    members: dict[object, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    out: set[int] = set()
    for indices in members.values():
        rng.shuffle(indices)
        out.update(indices[: int(share * len(indices) + 0.5) if len(indices) > 1 else 0])
    if not out and len(items) > 1:
        out.add(max(members.values(), key=len)[0])
    order = list(range(len(items)))
    rng.shuffle(order)
    return [items[i] for i in order if i not in out], [items[i] for i in order if i in out]
