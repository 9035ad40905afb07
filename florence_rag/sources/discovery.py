"""Finds the sources among paths and reports which changed: in files and folders, in containers, and at URLs.

URLs are not fetched: their ETag, time and size say which of them changed.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import chain
from mimetypes import guess_extension
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from florence_rag.errors import FlorenceError, MediaError, TimeLimitError
from florence_rag.sources.folders import FolderSearch
from florence_rag.sources.io import Columns, list_members, open_uri, read_sidecar
from florence_rag.sources.io.locations import stat
from florence_rag.sources.io.remote_stat import FileStat, version_from
from florence_rag.sources.io.uris import (
    MEDIA_BY_SUFFIX,
    READABLE_FORM,
    SUBTITLE_SUFFIXES,
    Member,
    container_scheme,
    guess_media,
    is_http,
    is_ignored,
    is_url,
    media_of,
    missing_extra,
    parse_member,
    skip_reason,
    suffix_of,
)
from florence_rag.sources.limited import stream_file
from florence_rag.sources.paths import Places, expand_paths, is_saved_dataset
from florence_rag.sources.records import SourceUnavailable, hash_content, hash_version, inspect, make_record
from florence_rag.sources.subtitles import SubtitleSearch
from florence_rag.telemetry import get_logger
from florence_rag.types import Failure, Media, Skipped, Source
from florence_rag.workers import Limits

log = get_logger(__name__)

_PARALLEL_REQUESTS = 16
_CONTAINER_LIMITS = Limits(seconds=60, seconds_per_item=0, memory_bytes=2_000_000_000)
_BYTES_PER_S = 1_000_000
"""So much of a container must be listed per second, after the first minute: a small one may stand for very much."""


def discover(
    paths: Iterable[str | os.PathLike[str]] | Places,
    known: Mapping[str, Source] = {},
    columns: Columns | None = None,
    *,
    follow_links: bool = False,
) -> Iterator[Source | Failure | Skipped]:
    """Find every medium among the paths, and in the folders and containers among them, once.

    In folders, files of unknown kinds, containers, and links that lead out of the folder are skipped. Hidden files, and
    files that belong to the system, are not even reported.

    Args:
        paths: Files, folders, patterns, URLs, tars, tables, saved data sets, and uris of members.
        known: uri -> record of the sources of an earlier run. A source with the size and time of its record is not
            read again, and its record is returned.
        columns: The columns of tables.
        follow_links: Whether to follow symbolic links that lead out of the folders.

    Returns:
        The files sorted by path, then the members of containers, then the URLs; for each one that cannot be read, a
        failure with the reason. The files that are skipped come before the others of their folders.

    Raises:
        InputError: If a path does not exist, before anything is read.
    """
    places = paths if isinstance(paths, Places) else expand_paths(paths)
    return _discover(places, FolderSearch(follow_links=follow_links), known, columns or Columns())


def _discover(
    places: Places, search: FolderSearch, known: Mapping[str, Source], columns: Columns
) -> Iterator[Source | Failure | Skipped]:
    paths: list[str] = []
    containers: dict[str, list[Member] | None] = {}  # None: all members
    urls: dict[str, None] = {}
    for uri in dict.fromkeys(places.named):
        if member := parse_member(uri):
            wanted = containers.setdefault(member.container, [])
            if wanted is not None:
                wanted.append(member)
        elif is_url(uri):
            try:
                files = _list_url(uri)
            except FlorenceError as error:
                yield SourceUnavailable(uri, str(error))
                continue
            for url in files:
                if url == uri or media_of(url) or container_scheme(url):
                    urls[url] = None
                else:
                    yield Skipped(url, skip_reason(url))
        elif is_saved_dataset(uri):
            splits = Path(uri).rglob("*.arrow")
            containers |= {str(path): None for path in splits if not path.name.startswith("cache-")}
        elif container_scheme(uri) and os.path.isfile(uri):
            containers[uri] = None
        else:
            paths.append(uri)
    containers |= dict.fromkeys(url for url in urls if container_scheme(url))
    yield from _find_files(replace(places, named=paths), search, known)
    for container, wanted in sorted(containers.items()):
        yield from _inspect_members(wanted, known) if wanted else _list_container(container, known, columns)
    with ThreadPoolExecutor(_PARALLEL_REQUESTS, "florence-stat") as pool:
        files = [url for url in urls if not container_scheme(url)]
        yield from pool.map(lambda url: inspect(url, partial(_url_record, url, known)), files)


def _find_files(
    places: Places, search: FolderSearch, known: Mapping[str, Source]
) -> Iterator[Source | Failure | Skipped]:
    """Yield what is skipped below the folders among the places, then each media file once, sorted by path."""
    folders = [path for path in places.named if os.path.isdir(path)]
    files = set(places.named).difference(folders)
    search.media |= {path: media_of(path) or guess_media(path) or _unknown_kind(path) for path in files}
    yield from search.find(folders, places.below, [*folders, *places.roots])
    subtitles = SubtitleSearch()
    yield from search.unused_subtitles(subtitles)
    for path, media in sorted(search.media.items()):
        yield inspect(path, partial(_file_record, path, media, known, subtitles))


def _unknown_kind(path: str) -> Failure:
    suffix = suffix_of(path)
    if suffix in SUBTITLE_SUFFIXES:
        return Failure(path, "subtitles are read together with the video of the same name")
    if extra := missing_extra(suffix):
        return Failure(path, f"files ending in {suffix!r} need a library: pip install 'florence-rag[{extra}]'")
    if form := READABLE_FORM.get(suffix):
        return Failure(path, f"files ending in {suffix!r} are not read; save this one as {form}")
    known = ", ".join(suffix.lstrip(".") for suffix in MEDIA_BY_SUFFIX)
    return Failure(path, f"files ending in {suffix!r} are of no known kind; known are {known}")


def _file_record(
    path: str, media: Media | Failure, known: Mapping[str, Source], subtitles: SubtitleSearch
) -> Source | Failure:
    """Return the record of a file. A video is indexed again when its subtitles change."""
    if isinstance(media, Failure):
        return media
    parts = [path, *(subtitles.of_video(path) if media == "video" else ())]
    stats = [os.stat(part) for part in parts]
    if not S_ISREG(stats[0].st_mode):
        return Failure(path, "this is not a regular file")
    if stats[0].st_size == 0:
        return Failure(path, "the file is empty (0 bytes)")
    total, names = FileStat(stats[0].st_size, stats[0].st_mtime_ns), b""
    if len(parts) > 1:
        names = "\0".join(os.path.relpath(part, os.path.dirname(path)) for part in parts[1:]).encode()
        state = [(each.st_size, each.st_mtime_ns) for each in stats]
        total = FileStat(sum(each.st_size for each in stats), version_from((names, state)))
    names_file: BinaryIO = BytesIO(names)
    files = chain((open(part, "rb") for part in parts), [names_file])  # noqa: SIM115  hash_content closes them
    return make_record(path, media, total, known, lambda: hash_content(files))


def _list_container(
    container: str, known: Mapping[str, Source], columns: Columns
) -> Iterator[Source | Failure | Skipped]:
    """Yield all members in their order; at a damaged place of the container, end with a failure.

    It is read in a worker, in a time that follows from its size, unless it exists in this process only: a few bytes of
    it may unpack to gigabytes, and nothing is indexed before all containers are listed.
    """
    try:
        below = {uri: known[uri] for uri in known if uri.partition(":")[2].startswith(container)}
        seconds = (_CONTAINER_LIMITS.seconds or 0) + stat(container).size_bytes / _BYTES_PER_S
        limits = replace(_CONTAINER_LIMITS, seconds=round(seconds))
        yield from stream_file(container, read_container, container, below, columns, limits=limits)
    except TimeLimitError as error:
        yield (SourceUnavailable if is_url(container) else Failure)(container, str(error))
    except MediaError as error:
        yield Failure(container, str(error))
    except FlorenceError as error:
        yield SourceUnavailable(container, str(error))
    except Exception as error:  # of a library that reads what strangers wrote: it costs this container, not the run
        log.warning("unexpected error in %s", container, exc_info=True)
        yield Failure(container, f"{container!r} cannot be listed (unexpected {type(error).__name__})")


def read_container(
    container: str, known: Mapping[str, Source], columns: Columns
) -> Iterator[Source | Failure | Skipped]:
    """Yield all members in their order, and a failure if the container is damaged after them."""
    container_stat = stat(container)
    members, problem = list_members(container, columns)
    yield from _inspect_members(members, known, container_stat)
    if problem:
        yield Failure(container, f"{container!r} {problem}")


def _inspect_members(
    members: Iterable[Member | Skipped], known: Mapping[str, Source], container_stat: FileStat | None = None
) -> Iterator[Source | Failure | Skipped]:
    """Yield the records of some members of one container, whose state is read again if it is not passed."""
    for member in members:
        if isinstance(member, Skipped):
            yield member
        else:
            yield inspect(member.uri, partial(_member_record, member, container_stat, known))


def _member_record(member: Member, container_stat: FileStat | None, known: Mapping[str, Source]) -> Source | Failure:
    """Return the record of a member. Its size and time are those of its container."""
    media = media_of(member.uri)
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
    """Return the URL of a file itself, or the visible files that a folder or pattern holds."""
    if is_http(url):
        return [url]
    from florence_rag.sources.io.fsspec_io import list_files

    return [each for each in list_files(url) if each == url or not is_ignored(each.rpartition("/")[2])]


def _url_record(url: str, known: Mapping[str, Source]) -> Source | Failure:
    found = stat(url)
    media = media_of(url) or MEDIA_BY_SUFFIX.get(guess_extension(found.media_type) or "")
    if media is None:
        kind = found.media_type or "of a type that its server does not declare"
        return Failure(url, f"the file is {kind}: no image, video, text, PDF or office document")
    return make_record(url, media, found, known, partial(_content_hash, url, url, found))
