"""Files with their labels: a folder with a folder for each class, or a CSV file of paths and labels."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from florence_rag.errors import InputError
from florence_rag.sources import MEDIA_BY_SUFFIX


class Labeled(NamedTuple):
    """One file and its label."""

    path: Path
    label: str


def labeled_pictures(data: str | Path) -> list[Labeled]:
    """All pictures of a data set, sorted; a file that is listed and missing is listed here, too.

    A folder: each folder in it is a class of its name, whose pictures may lie deeper. A CSV file: two columns, a path,
    absolute or from the file's own folder, and a label; a first row "path,label" (or file, image; class) is its head.
    InputError for what is neither, or has no pictures.
    """
    return _labeled(data, "image", "pictures")


def labeled_videos(data: str | Path) -> list[Labeled]:
    """The same of videos."""
    return _labeled(data, "video", "videos")


def _labeled(data: str | Path, medium: Literal["image", "video"], called: str) -> list[Labeled]:
    data = Path(data).expanduser()
    if data.is_dir():
        found = sorted(_in_folders(data, medium))
        shape = f"a folder with a folder of {called} for each class"
    elif data.suffix.lower() == ".csv" and data.is_file():
        found = list(dict.fromkeys(_in_table(data)))
        shape = "a CSV file with a path and a label in each row"
    else:
        raise InputError(f"{str(data)!r} is no data set; give a folder with a folder for each class, or a CSV file")
    classes: dict[Path, str] = {}
    for path, label in found:
        if (other := classes.setdefault(path, label)) != label:
            raise InputError(f"{str(data)!r} says of {str(path)!r} that it is {other!r}, and that it is {label!r}")
    if not found:
        raise InputError(f"{str(data)!r} has no labelled {called}; it must be {shape}")
    return found


def _in_folders(top: Path, medium: str) -> Iterator[Labeled]:
    for folder in top.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            for path in folder.rglob("*"):
                if MEDIA_BY_SUFFIX.get(path.suffix.lower()) == medium and not path.name.startswith("."):
                    yield Labeled(path, folder.name)


def _in_table(table: Path) -> Iterator[Labeled]:
    try:
        rows = list(csv.reader(table.read_text("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(table)!r} is no CSV file in UTF-8: {error}") from error
    head = [cell.strip().casefold() for cell in rows[0]] if rows else []
    start = 1 if head[:2] and head[0] in ("path", "file", "image", "video") else 0
    for number, row in enumerate(rows[start:], start=start + 1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != 2 or not all(cell.strip() for cell in row):
            raise InputError(f"row {number} of {str(table)!r} is {row!r:.80}; it needs a path and a label")
        yield Labeled(table.parent / Path(row[0].strip()).expanduser(), row[1].strip())
