"""Reads what a URL of any scheme names: HTTP by ourselves, all others (S3, Google Cloud, Azure, ...) through fsspec."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.sources.io import http as web
from florence_rag.sources.io.remote_stat import Limits, Seen, spooled, version_from
from florence_rag.sources.io.uris import is_web

_BLOCK = 1 << 20
_LIMITS = Limits()
_VERSIONS = (
    "etag content_md5 contentmd5 md5hash md5 checksum generation "
    "lastmodified last_modified mtime updated modified created"
).split()
"""What fsspec's file systems call the things that change with a file, the surest first."""


def look(url: str, limits: Limits = _LIMITS) -> Seen:
    """What can be told of it without fetching it."""
    if is_web(url):
        return web.look(url, limits)
    with _explained(url):
        system, path = _system(url)
        return _seen(system.info(path))


def listed(url: str) -> dict[str, Seen]:
    """What lies at a URL that fsspec reads: the files that a pattern matches or below a folder, or the one file."""
    with _explained(url):
        system, path = _system(url)
        if any(mark in path for mark in "*?["):
            found = {name: info for name, info in system.glob(path, detail=True).items() if info["type"] == "file"}
        elif system.isdir(path):
            found = system.find(path, detail=True)
        else:
            return {url: _seen(system.info(path))}
        return {system.unstrip_protocol(name): _seen(info) for name, info in sorted(found.items())}


def fetch(url: str, limits: Limits = _LIMITS) -> BinaryIO:
    """All of it, seekable."""
    if is_web(url):
        return web.fetch(url, limits)
    with open_ranges(url, limits) as file, _explained(url):
        return spooled(iter(partial(file.read, _BLOCK), b""), url, limits, time.monotonic() + limits.total_s)


def open_ranges(url: str, limits: Limits = _LIMITS) -> BinaryIO:
    """A file of which only what is read is fetched."""
    if is_web(url):
        return web.open_ranges(url, limits)
    with _explained(url):
        system, path = _system(url)
        return cast("BinaryIO", system.open(path, "rb"))


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("fsspec", "remote") from error
    try:
        return cast("tuple[Any, str]", url_to_fs(url))
    except ImportError as error:
        raise InputError(f"{url!r} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise InputError(f"{url!r} is of no known protocol; known are http, https, s3, gs, az and fsspec's") from error


def _seen(info: Mapping[str, Any]) -> Seen:
    facts = {name.lower(): value for name, value in info.items()}
    if facts.get("type") == "directory":
        raise InputError(f"{facts.get('name')!r} is a folder")
    mark = next((facts[name] for name in _VERSIONS if facts.get(name)), None)
    mark = mark.timestamp() if isinstance(mark, datetime) else mark
    return Seen(int(facts.get("size") or 0), version_from(mark), str(facts.get("contenttype") or ""))


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Every file system has its own errors."""
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{url!r} does not exist") from error
    except PermissionError as error:
        raise InputError(f"{url!r} may not be read: check the keys that its file system uses") from error
    except Exception as error:
        words = " ".join(str(error).split())
        raise InputError(f"{url!r} cannot be read: {type(error).__name__}: {words:.200}") from error
