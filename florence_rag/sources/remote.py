"""Lists what lies at URLs and reports which of it changed, by ETag, time and size, without fetching it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from mimetypes import guess_extension

from florence_rag.sources.io import open_uri
from florence_rag.sources.io.locations import stat
from florence_rag.sources.io.uris import container_scheme, is_http
from florence_rag.sources.media_types import MEDIA_BY_SUFFIX, media_of
from florence_rag.sources.records import hash_content, hash_version, inspect, make_record
from florence_rag.types import Failure, Source

_PARALLEL_REQUESTS = 16


def list_url(url: str) -> list[str]:
    """Return the URL itself, or the visible files of a known kind in the folder, or of the pattern, that it is."""
    if is_http(url):
        return [url]
    from florence_rag.sources.io.fsspec_io import list_files

    files = list_files(url)
    if files == [url]:
        return files
    return [each for each in files if (media_of(each) or container_scheme(each)) and not _is_hidden(each)]


def inspect_urls(urls: Iterable[str], known: Mapping[str, Source]) -> Iterator[Source | Failure]:
    """Yield the records of URLs in their order; several requests run in parallel."""
    with ThreadPoolExecutor(_PARALLEL_REQUESTS, "florence-stat") as pool:
        yield from pool.map(lambda url: inspect(url, partial(_read_record, url, known)), urls)


def _read_record(url: str, known: Mapping[str, Source]) -> Source | Failure:
    found = stat(url)
    media = media_of(url) or MEDIA_BY_SUFFIX.get(guess_extension(found.media_type) or "")
    if media is None:
        kind = found.media_type or "of a type that its server does not declare"
        return Failure(url, f"the file is {kind}: no image, video, text or PDF")
    if found.version:
        return make_record(url, media, found, known, lambda: hash_version(url, found))
    return make_record(url, media, found, known, lambda: hash_content([open_uri(url)]))


def _is_hidden(url: str) -> bool:
    return url.rpartition("/")[2].startswith(".")
