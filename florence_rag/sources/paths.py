"""Turns paths, patterns and URLs that a person names into uris."""

import glob
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from florence_rag.errors import InputError
from florence_rag.sources.io.uris import (
    SCHEME_BY_SUFFIX,
    container_scheme,
    is_http,
    is_path,
    is_url,
    media_of,
    parse_member,
)
from florence_rag.sources.records import SourceUnavailable
from florence_rag.types import Failure


def path_to_uri(path: str | Path) -> str:
    """Return the uri of a file, folder, URL or member, whether it exists or not.

    The uri has the resolved folder and the file's own name: a link may point to a file with a meaningless name.
    """
    text = os.fspath(path)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if not is_path(text):
        return text
    try:
        local = Path(os.path.expanduser(text))
        return str(local.resolve() if local.is_dir() else local.parent.resolve() / local.name)
    except ValueError:  # a null byte, with which no path exists
        return os.path.abspath(text)


def paths_to_uris(paths: Iterable[str | Path]) -> list[str]:
    """Return the uri of each path, and of the files of known kinds that each pattern matches.

    Patterns match as in a shell, and "**" matches any number of folders. URLs are not requested.

    Raises:
        InputError: If a path does not exist or a pattern matches nothing.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    return [uri for path in paths for uri in _expand(path)]


def require_paths(paths: Iterable[str | Path]) -> None:
    """Raise InputError for a path that `paths_to_uris` refuses, reading only the first match of a pattern."""
    for path in paths:
        _expand(path, max_matches=1)


def lines_to_uris(lines: Iterable[str | Path]) -> tuple[list[str], list[Failure]]:
    """Return the uris of the lines of a list, without blank ones, and the failures of paths that do not exist."""
    uris: list[str] = []
    missing: list[Failure] = []
    for line in lines:
        line = line.strip("\r\n \t") if isinstance(line, str) else line
        try:
            uris += _expand(line) if line else []
        except InputError:
            missing.append(SourceUnavailable(path_to_uri(line), "it does not exist"))
    return uris, missing


def exists(uri: str) -> bool:
    """Return whether a file, or the container of a member, exists; a URL is assumed to exist."""
    member = parse_member(uri)
    location = member.container if member else uri
    return is_url(location) or os.path.exists(location)


def uri_prefixes(uri: str) -> tuple[str, ...]:
    """Return the prefixes of the uris of everything in a folder or container."""
    stem = uri.rstrip("/")
    members = tuple(f"{scheme}:{stem}#" for scheme in SCHEME_BY_SUFFIX.values())
    files = () if is_http(uri) else (f"{stem}/",)
    return (*files, *members, *((f"arrow:{stem}/",) if is_saved_dataset(uri) else ()))


def is_saved_dataset(folder: str) -> bool:
    """Return whether `save_to_disk` of Hugging Face datasets wrote a folder."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in ("state.json", "dataset_dict.json"))


def _expand(path: str | Path, max_matches: int | None = None) -> list[str]:
    uri = path_to_uri(path)
    if is_url(uri) or exists(uri):
        return [uri]
    if "\0" not in uri and any(mark in uri for mark in "*?["):
        found = glob.iglob(os.path.expanduser(os.fspath(path)), recursive=True)
        known = (each for each in found if media_of(each) or container_scheme(each) or os.path.isdir(each))
        if uris := [path_to_uri(match) for match in sorted(islice(known, max_matches))]:
            return uris
        raise InputError(f"{os.fspath(path)!r} matches no folder and no file of a known kind")
    raise InputError(f"{os.fspath(path)!r} does not exist; give files or folders on this machine, patterns or URLs")
