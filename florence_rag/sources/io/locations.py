"""Reads files and URLs through one interface: their state, all their bytes, or only parts of them."""

import os
from stat import S_ISREG
from types import ModuleType
from typing import BinaryIO

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.io.uris import is_http, is_url


def open_file(path: str) -> BinaryIO:
    """Open a file on this machine for reading; raise MediaError with its name if that fails."""
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  the caller closes it
    except (OSError, ValueError) as error:
        raise MediaError(f"{path!r:.999} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise MediaError(f"{path!r:.999} is not a regular file, but a pipe or a device; give a file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe to which nobody writes does not block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_whole(location: str) -> BinaryIO:
    """Return all bytes of a path or URL as a seekable file."""
    file: BinaryIO = _remote(location).fetch(location) if is_url(location) else open_file(location)
    return file


def open_parts(location: str) -> BinaryIO:
    """Open a path or URL as a seekable file that fetches only the parts that are read."""
    if is_url(location):
        file: BinaryIO = _remote(location).open_parts(location)
        return file
    try:
        return open(location, "rb")
    except OSError as error:
        raise InputError(f"{location!r} cannot be opened: {error.strerror}") from error


def stat(location: str) -> FileStat:
    """Return the state of a path or URL as it is now; the version of a file is its modification time in ns."""
    if is_url(location):
        remote: FileStat = _remote(location).stat(location)
        return remote
    try:
        status = os.stat(location)
    except OSError as error:
        raise InputError(f"{location!r} cannot be read: {error.strerror}") from error
    return FileStat(status.st_size, status.st_mtime_ns)


def stat_for_cache(location: str) -> FileStat:
    """Return the state that identifies a cached container; a URL is assumed not to change during a run."""
    return FileStat() if is_url(location) else stat(location)


def _remote(url: str) -> ModuleType:
    if is_http(url):
        from florence_rag.sources.io import http

        return http
    from florence_rag.sources.io import fsspec_io

    return fsspec_io
