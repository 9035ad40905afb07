"""From what a person names to places: absolute paths and the uris of what is no file. Patterns are expanded here."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from florence_rag.errors import InputError
from florence_rag.sources.files import MEDIA_BY_SUFFIX
from florence_rag.sources.io import is_elsewhere
from florence_rag.sources.io.uris import SCHEME_BY_SUFFIX, is_url, is_web, parse_item, scheme_of
from florence_rag.types import Failure


@dataclass(frozen=True, slots=True)
class SourceUnavailable(Failure):
    """A source that cannot be looked at now, and may be as it was: what is indexed of it need not be forgotten."""


def place_of(path: str | Path) -> str:
    """The uri of a file, a URL or an item, or the place of a folder, whether it exists or not.

    The folder is resolved, the file's own name kept: links may point to nameless blobs.
    """
    text = os.fspath(path)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if is_elsewhere(text):
        return text
    given = Path(os.path.expanduser(text))
    return str(given.resolve() if given.is_dir() else given.parent.resolve() / given.name)


def places_named(paths: Iterable[str | Path]) -> list[str]:
    """The place of each path, or of all that a pattern matches; InputError for one that is not there.

    What lies elsewhere is not asked for. A pattern matches as in a shell, "**" any number of folders; files of unknown
    kind are passed over.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    return [place for path in paths for place in _expand(path)]


def check_there(paths: Iterable[str | Path]) -> None:
    """InputError for a path that `places_named` refuses; of a pattern the first match is enough."""
    for path in paths:
        _expand(path, most=1)


def places_listed(lines: Iterable[str | Path]) -> tuple[list[str], list[Failure]]:
    """The same of many, of which those that are not there are failures. Blank lines are passed over."""
    places: list[str] = []
    lost: list[Failure] = []
    for line in lines:
        line = line.strip("\r\n \t") if isinstance(line, str) else line
        try:
            places += _expand(line) if line else []
        except InputError:
            lost.append(SourceUnavailable(place_of(line), "it does not exist"))
    return places, lost


def exists(place: str) -> bool:
    """Whether a file, or the container of an item, is there; of what lies elsewhere it is taken for granted."""
    item = parse_item(place)
    where = item.container if item else place
    return is_url(where) or os.path.exists(where)


def inside(place: str) -> tuple[str, ...]:
    """What the uris of all that lies in a folder or container begin with."""
    stem = place.rstrip("/")
    items = tuple(f"{scheme}:{stem}#" for scheme in SCHEME_BY_SUFFIX.values())
    files = () if is_web(place) else (f"{stem}/",)
    return (*files, *items, *((f"arrow:{stem}/",) if is_dataset(place) else ()))


def is_dataset(folder: str) -> bool:
    """Whether it was written by save_to_disk of Hugging Face datasets."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in ("state.json", "dataset_dict.json"))


def _expand(path: str | Path, most: int | None = None) -> list[str]:
    place = place_of(path)
    if is_url(place) or _is_there(place):
        return [place]
    if any(mark in place for mark in "*?["):
        found = filter(_is_wanted, glob.iglob(os.path.expanduser(os.fspath(path)), recursive=True))
        if places := [place_of(each) for each in sorted(islice(found, most))]:
            return places
        raise InputError(f"{os.fspath(path)!r} matches no folder and no file of a known kind")
    raise InputError(f"{os.fspath(path)!r} does not exist; give files or folders on this machine, patterns or URLs")


def _is_there(place: str) -> bool:
    try:
        return exists(place)
    except (OSError, ValueError):
        return False


def _is_wanted(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()
    return suffix in MEDIA_BY_SUFFIX or scheme_of(path) is not None or os.path.isdir(path)
