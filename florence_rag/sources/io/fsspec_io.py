"""Reads URLs of other schemes than HTTP (S3, Google Cloud, Azure, ...) through fsspec.

File systems have timeouts of their own or none. Therefore each call of theirs runs in a thread with a deadline.
"""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.sources.io.deadline import call_in_time, time_limit
from florence_rag.sources.io.remote_stat import FileStat, TransferLimits, spool, version_from

_BLOCK_BYTES = 1 << 20
_LIMITS = TransferLimits()
_VERSION_KEYS = (
    "etag content_md5 contentmd5 md5hash md5 checksum generation "
    "lastmodified last_modified mtime updated modified created"
).split()
"""The keys under which fsspec's file systems report what changes with a file, the most reliable first."""


def stat(url: str) -> FileStat:
    """Return what the file system reports of a file, without fetching it."""
    with _errors_mapped(url):
        return call_in_time(_LIMITS.response_s, _info, url)


def list_files(url: str) -> list[str]:
    """Return the files that a pattern matches or that a folder holds, sorted by URL, or the URL of one file itself."""
    with _errors_mapped(url):
        return call_in_time(_LIMITS.total_s, _list_files, url)


def _info(url: str) -> FileStat:
    system, path = _file_system(url)
    return _to_stat(system.info(path))


def _list_files(url: str) -> list[str]:
    system, path = _file_system(url)
    if any(mark in path for mark in "*?["):
        files = [name for name, info in system.glob(path, detail=True).items() if info["type"] == "file"]
    elif system.isdir(path):
        files = system.find(path)
    else:
        _to_stat(system.info(path))
        return [url]
    return [system.unstrip_protocol(name) for name in sorted(files)]


def fetch(url: str, limits: TransferLimits = _LIMITS) -> BinaryIO:
    """Return all bytes of a URL as a seekable file."""
    with time_limit(limits.total_s), open_parts(url) as file, _errors_mapped(url):
        blocks = iter(partial(file.read, _BLOCK_BYTES), b"")
        return spool(blocks, url, limits, time.monotonic() + limits.total_s)


def open_parts(url: str) -> BinaryIO:
    """Open a URL as a seekable file that fetches only the parts that are read."""
    with _errors_mapped(url):
        file = call_in_time(_LIMITS.response_s, _open, url)
    return io.BufferedReader(_TimedReader(file, url), _BLOCK_BYTES)


def _open(url: str) -> BinaryIO:
    system, path = _file_system(url)
    return cast("BinaryIO", system.open(path, "rb"))


class _TimedReader(io.RawIOBase):
    """Reads a file of fsspec, with a limit of time for each part."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        with _errors_mapped(self._url):
            data = call_in_time(_LIMITS.response_s, self._file.read, min(len(buffer), _BLOCK_BYTES))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
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


def _to_stat(info: Mapping[str, Any]) -> FileStat:
    values = {name.lower(): value for name, value in info.items()}
    if values.get("type") == "directory":
        raise InputError(f"{values.get('name')!r} is a folder; give a file, or index the folder")
    tag = next((values[name] for name in _VERSION_KEYS if values.get(name)), None)
    tag = tag.timestamp() if isinstance(tag, datetime) else tag
    return FileStat(int(values.get("size") or 0), version_from(tag), str(values.get("contenttype") or ""))


@contextmanager
def _errors_mapped(url: str) -> Iterator[None]:
    """Map the errors of a file system to InputError. Every file system raises its own."""
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except TimeoutError as error:
        raise InputError(f"{url!r} does not answer in time") from error
    except FileNotFoundError as error:
        raise InputError(f"{url!r} does not exist") from error
    except PermissionError as error:
        raise InputError(f"{url!r} may not be read: check the keys that its file system uses") from error
    except Exception as error:
        message = " ".join(str(error).split())
        raise InputError(f"{url!r} cannot be read: {type(error).__name__}: {message:.200}") from error
