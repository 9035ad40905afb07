"""Finds the sources among paths: sorts them into files and folders, containers, and URLs.

URLs are not fetched: their ETag, time and size say which of them changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from mimetypes import guess_extension
from pathlib import Path

from florence_rag.errors import FlorenceError, MediaError
from florence_rag.sources.files import find_files
from florence_rag.sources.io import Columns, list_members, open_uri, read_sidecar
from florence_rag.sources.io.locations import stat
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.io.uris import (
    MEDIA_BY_SUFFIX,
    Member,
    container_scheme,
    is_http,
    is_url,
    media_of,
    parse_member,
    unquote_name,
)
from florence_rag.sources.paths import is_saved_dataset, paths_to_uris
from florence_rag.sources.records import SourceUnavailable, hash_content, hash_version, inspect, make_record
from florence_rag.types import Failure, Source

_PARALLEL_REQUESTS = 16


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
        failure with the reason.

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
                urls |= dict.fromkeys(_list_url(uri))
            except FlorenceError as error:
                yield SourceUnavailable(uri, str(error))
        elif is_saved_dataset(uri):
            splits = Path(uri).rglob("*.arrow")
            containers |= {str(path): None for path in splits if not path.name.startswith("cache-")}
        elif container_scheme(uri) and os.path.isfile(uri):
            containers[uri] = None
        else:
            paths.append(uri)
    containers |= dict.fromkeys(url for url in urls if container_scheme(url))
    yield from find_files(paths, known)
    for container, wanted in sorted(containers.items()):
        yield from _inspect_members(wanted, known) if wanted else _list_container(container, known, columns)
    yield from _inspect_urls([url for url in urls if not container_scheme(url)], known)


def _list_container(container: str, known: Mapping[str, Source], columns: Columns) -> Iterator[Source | Failure]:
    """Yield all members in their order; at a damaged place of the container, end with a failure."""
    try:
        container_stat = stat(container)
        members, problem = list_members(container, columns)
    except MediaError as error:
        yield Failure(container, str(error))
    except FlorenceError as error:
        yield SourceUnavailable(container, str(error))
    else:
        yield from _inspect_members(members, known, container_stat)
        if problem:
            yield Failure(container, f"{container!r} {problem}")


def _inspect_members(
    members: Iterable[Member], known: Mapping[str, Source], container_stat: FileStat | None = None
) -> Iterator[Source | Failure]:
    """Yield the records of some members of one container, whose state is read again if it is not passed."""
    for member in members:
        yield inspect(member.uri, partial(_member_record, member, container_stat, known))


def _member_record(member: Member, container_stat: FileStat | None, known: Mapping[str, Source]) -> Source | Failure:
    """Return the record of a member. Its size and time are those of its container."""
    media = media_of(unquote_name(member.fragment)) if member.scheme == "tar" else "image"
    if media is None:
        return Failure(member.uri, "the member is of no known kind")
    found = container_stat or stat(member.container)
    return make_record(member.uri, media, found, known, partial(_content_hash, member.uri, member.container, found))


def _content_hash(uri: str, location: str, found: FileStat) -> str:
    """Return the hash of the bytes of a source; of one at a URL that is served with a version, a hash of that."""
    if is_url(location) and found.version:
        return hash_version(uri, found)
    return hash_content([open_uri(uri)], read_sidecar(uri).digest_input)


def _list_url(url: str) -> list[str]:
    """Return the URL of a file itself, or the visible files of a known kind that a folder or pattern holds."""
    if is_http(url):
        return [url]
    from florence_rag.sources.io.fsspec_io import list_files

    files = list_files(url)
    if files == [url]:
        return files
    visible = (each for each in files if not each.rpartition("/")[2].startswith("."))
    return [each for each in visible if media_of(each) or container_scheme(each)]


def _inspect_urls(urls: Iterable[str], known: Mapping[str, Source]) -> Iterator[Source | Failure]:
    """Yield the records of URLs in their order; several requests run in parallel."""
    with ThreadPoolExecutor(_PARALLEL_REQUESTS, "florence-stat") as pool:
        yield from pool.map(lambda url: inspect(url, partial(_url_record, url, known)), urls)


def _url_record(url: str, known: Mapping[str, Source]) -> Source | Failure:
    found = stat(url)
    media = media_of(url) or MEDIA_BY_SUFFIX.get(guess_extension(found.media_type) or "")
    if media is None:
        kind = found.media_type or "of a type that its server does not declare"
        return Failure(url, f"the file is {kind}: no image, video, text or PDF")
    return make_record(url, media, found, known, partial(_content_hash, url, url, found))
