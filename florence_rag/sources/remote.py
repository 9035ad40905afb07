"""What lies at URLs, and which of it changed: told by ETag, time and size, without fetching it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from mimetypes import guess_extension
from urllib.parse import urlsplit

from florence_rag.errors import FlorenceError, MediaError
from florence_rag.sources.files import MEDIA_BY_SUFFIX
from florence_rag.sources.io import open_place
from florence_rag.sources.io.fsspec_io import listed, look
from florence_rag.sources.io.remote_stat import Seen
from florence_rag.sources.io.uris import is_web, scheme_of
from florence_rag.sources.paths import SourceUnavailable
from florence_rag.types import Failure, Media, Source

_AT_A_TIME = 16
_BLOCK = 1 << 20


def list_url(url: str) -> list[str]:
    """The URL itself, or what lies in the folder, or matches the pattern, that it is; unknown kinds are passed over."""
    if is_web(url):
        return [url]
    found = listed(url)
    if list(found) == [url]:
        return [url]
    return [each for each in found if (_medium(each, "") or scheme_of(each)) and not _is_hidden(each)]


def look_at_urls(urls: Iterable[str], known: Mapping[str, Source]) -> Iterator[Source | Failure]:
    """In their order; several at a time are asked for."""
    with ThreadPoolExecutor(_AT_A_TIME, "florence-look") as pool:
        yield from pool.map(lambda url: _look(url, known.get(url)), urls)


def _look(url: str, before: Source | None) -> Source | Failure:
    try:
        seen = look(url)
        if before and seen.version and (before.size_bytes, before.modified_ns) == (seen.size_bytes, seen.version):
            return before
        medium = _medium(url, seen.medium)
        if medium is None:
            kind = seen.medium or "of a kind that its server does not tell"
            return Failure(url, f"what lies there is {kind}: no picture, video, text or PDF")
        return Source(url, medium, seen.size_bytes, seen.version, _digest(url, seen))
    except MediaError as error:
        return Failure(url, str(error))
    except FlorenceError as error:
        return SourceUnavailable(url, str(error))


def _medium(url: str, told: str) -> Media | None:
    """By the ending of its path, or else by what the server calls it."""
    suffix = os.path.splitext(urlsplit(url).path)[1].lower()
    return MEDIA_BY_SUFFIX.get(suffix) or MEDIA_BY_SUFFIX.get(guess_extension(told) or "")


def _is_hidden(url: str) -> bool:
    return urlsplit(url).path.rpartition("/")[2].startswith(".")


def _digest(url: str, seen: Seen) -> str:
    """Of the version, so that it is fetched once, to be indexed; of the bytes where the server tells no version."""
    digest = blake2b(digest_size=16)
    if seen.version:
        digest.update(f"{url}\0{seen.version}\0{seen.size_bytes}".encode())
        return digest.hexdigest()
    with open_place(url) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
