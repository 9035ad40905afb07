"""Finds the sources among paths: sorts them into files and folders, containers, and URLs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from florence_rag.errors import FlorenceError
from florence_rag.sources.containers import inspect_members, list_members
from florence_rag.sources.files import find_files
from florence_rag.sources.io import Columns
from florence_rag.sources.io.uris import Member, container_scheme, is_url, parse_member
from florence_rag.sources.paths import is_saved_dataset, paths_to_uris
from florence_rag.sources.records import SourceUnavailable
from florence_rag.sources.remote import inspect_urls, list_url
from florence_rag.types import Failure, Source


def discover(
    paths: Iterable[str | Path], known: Mapping[str, Source] = {}, columns: Columns | None = None
) -> Iterator[Source | Failure]:
    """Find every medium among the paths, and in the folders and containers among them, once.

    Hidden files, files of unknown kinds and containers are skipped in folders.

    Args:
        paths: Files, folders, patterns, URLs, tars, tables, saved data sets, and uris of members.
        known: uri -> record of the sources of an earlier run. A source with the size and time of its record is not
            read again, and its record is returned.
        columns: The columns of tables.

    Returns:
        The files sorted by path, then the members of containers, then the URLs; for each one that cannot be read, a
        failure that says why.

    Raises:
        InputError: If a path does not exist, before anything is read.
    """
    return _discover(dict.fromkeys(paths_to_uris(paths)), known, columns or Columns())


def _discover(uris: Iterable[str], known: Mapping[str, Source], columns: Columns) -> Iterator[Source | Failure]:
    paths: list[str] = []
    containers: dict[str, list[Member] | None] = {}  # None: all members
    urls: dict[str, None] = {}
    for uri in uris:
        if member := parse_member(uri):
            wanted = containers.setdefault(member.container, [])
            if wanted is not None:
                wanted.append(member)
        elif is_url(uri):
            try:
                urls |= dict.fromkeys(list_url(uri))
            except FlorenceError as error:
                yield SourceUnavailable(uri, str(error))
        elif is_saved_dataset(uri):
            containers |= dict.fromkeys(_arrow_files(uri))
        elif container_scheme(uri) and os.path.isfile(uri):
            containers[uri] = None
        else:
            paths.append(uri)
    containers |= dict.fromkeys(url for url in urls if container_scheme(url))
    yield from find_files(paths, known)
    for container, wanted in sorted(containers.items()):
        yield from inspect_members(wanted, known) if wanted else list_members(container, known, columns)
    yield from inspect_urls([url for url in urls if not container_scheme(url)], known)


def _arrow_files(dataset: str) -> list[str]:
    """Return the files of all splits."""
    return sorted(str(path) for path in Path(dataset).rglob("*.arrow") if not path.name.startswith("cache-"))
