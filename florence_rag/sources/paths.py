"""Turns paths, patterns and URLs that a person names into uris."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import chain
from urllib.parse import unquote, urlsplit

from florence_rag.errors import InputError
from florence_rag.sources.io.uris import (
    SCHEME_BY_SUFFIX,
    container_scheme,
    is_http,
    is_path,
    is_system_file,
    is_unusual,
    is_url,
    media_of,
    parse_member,
    suffix_of,
)
from florence_rag.sources.records import SourceUnavailable
from florence_rag.text_arguments import expand_user, to_path
from florence_rag.types import Failure
from florence_rag.validation import check_type


def path_to_uri(path: str | os.PathLike[str]) -> str:
    """Return the uri of a file, folder, URL or member, whether it exists or not.

    The uri has the resolved folder and the file's own name: a link may point to a file with a meaningless name.
    """
    check_type(path, str | os.PathLike[str], "path")
    text = os.fspath(path)
    if text.startswith("file://"):
        with suppress(ValueError):  # of one that is no URL, which names no file
            text = unquote(urlsplit(text).path)
    if not is_path(text):
        return text
    try:
        local = to_path(text)
        return str(local.resolve() if local.is_dir() else local.parent.resolve() / local.name)
    except (OSError, ValueError):  # a null byte, or too long: no path exists
        return os.path.abspath(text)


@dataclass(frozen=True, slots=True)
class Places:
    """Where to search for media.

    Attributes:
        named: The uris that a person names; each is read, or fails with a reason.
        below: Paths that were found below `roots`; they are read or skipped like files of a folder.
        roots: Resolved folders.
    """

    named: Sequence[str] = ()
    below: Sequence[str] = ()
    roots: Sequence[str] = ()

    @property
    def uris(self) -> tuple[str, ...]:
        """All uris and paths."""
        return (*self.named, *self.below)

    def existing(self) -> Places:
        """Return the places that exist."""
        return replace(self, named=[*filter(exists, self.named)], below=[*filter(os.path.exists, self.below)])

    @classmethod
    def join(cls, parts: Sequence[Places]) -> Places:
        """Return all places of the parts."""
        return cls(*(list(chain.from_iterable(getattr(part, each.name) for part in parts)) for each in fields(cls)))


def expand_paths(paths: Iterable[str | os.PathLike[str]]) -> Places:
    """Return the uri of each path, and what each pattern matches. URLs are not requested.

    Patterns match as in a shell, and "**" matches any number of folders.

    Raises:
        InputError: If a path does not exist or a pattern matches nothing that can be read.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    return Places.join([_expand(path) for path in paths])


def require_paths(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise InputError for a path that `expand_paths` refuses, reading only the first match of a pattern."""
    for path in paths:
        _expand(path, max_matches=1)


def expand_lines(lines: Iterable[str | os.PathLike[str]]) -> tuple[Places, list[Failure]]:
    """Return the places on the lines of a list, without blank ones, and the failures of paths that do not exist."""
    places: list[Places] = []
    missing: list[Failure] = []
    for line in lines:
        line = line.strip("\r\n \t") if isinstance(line, str) else line
        try:
            places += [_expand(line)] if line else []
        except InputError:
            missing.append(SourceUnavailable(path_to_uri(line), "it does not exist"))
    return Places.join(places), missing


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


def prefixes_below(uris: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes of the uris of everything in several folders and containers."""
    return tuple(prefix for uri in uris for prefix in uri_prefixes(uri))


def is_saved_dataset(folder: str) -> bool:
    """Return whether `save_to_disk` of Hugging Face datasets wrote a folder."""
    written = [("dataset_dict.json",), ("state.json", "dataset_info.json")]
    return any(all(os.path.isfile(os.path.join(folder, name)) for name in names) for names in written)


def _expand(path: str | os.PathLike[str], max_matches: int | None = None) -> Places:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{path!r:.80} is not a path; give files or folders on this machine, patterns or URLs")
    uri = path_to_uri(path)
    if is_url(uri) or exists(uri):
        return Places([uri])
    if "\0" not in text and any(mark in uri for mark in "*?["):
        return _expand_pattern(expand_user(text), max_matches)
    raise InputError(f"{text!r:.999} does not exist; give files or folders on this machine, patterns or URLs")


def _expand_pattern(pattern: str, max_matches: int | None) -> Places:
    """Return what a pattern matches: links and files of unknown kinds are `below` the folder in front of its marks."""
    root = path_to_uri(os.path.dirname(re.split(r"[*?\[]", pattern, maxsplit=1)[0]) or ".")
    named: list[str] = []
    below: list[str] = []
    for match in _matches(pattern):
        folder, name = os.path.split(match.rstrip("/"))
        uri = os.path.join(path_to_uri(folder or "."), name)
        if (
            is_inside(uri, [root])
            and not os.path.islink(uri)
            and (media_of(uri) or container_scheme(uri) or os.path.isdir(uri))
        ):
            named.append(uri)
        elif not is_system_file(name):
            below.append(uri)
        if len(named) == max_matches:
            break
    if not named and not any(os.path.islink(each) or is_unusual(suffix_of(each)) for each in below):
        raise InputError(f"{pattern!r} matches no folder and no file of a known kind")
    return Places(sorted(named), sorted(below), [root])


def _matches(pattern: str) -> Iterator[str]:
    try:
        yield from glob.iglob(pattern, recursive=True)
    except (UnicodeError, RecursionError) as error:  # of a name that no file can have
        raise InputError(f"{pattern!r:.999} matches nothing") from error


def is_inside(path: str, folders: Iterable[str]) -> bool:
    """Return whether an absolute path is one of the folders or lies below one."""
    return any(f"{path}/".startswith(f"{folder.rstrip('/')}/") for folder in folders)
