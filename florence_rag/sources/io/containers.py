"""Opens containers wherever they lie, and tells whether they have changed."""

from __future__ import annotations

import os
from typing import BinaryIO

from florence_rag.errors import InputError
from florence_rag.sources.io.uris import is_url

Version = tuple[int, int]
"""Size in bytes, and a number that changes with the content."""

UNKNOWN: Version = (0, 0)


def open_container(container: str) -> BinaryIO:
    """For reading anywhere in it."""
    if is_url(container):
        from florence_rag.sources.io.fsspec_io import open_ranges

        return open_ranges(container)
    try:
        return open(container, "rb")
    except OSError as error:
        raise InputError(f"{container!r} cannot be opened: {error.strerror}") from error


def version_of(container: str) -> Version:
    """As it is now; UNKNOWN where a server does not tell."""
    if is_url(container):
        from florence_rag.sources.io.fsspec_io import look

        seen = look(container)
        return (seen.size_bytes, seen.version) if seen.version else UNKNOWN
    try:
        facts = os.stat(container)
    except OSError as error:
        raise InputError(f"{container!r} cannot be read: {error.strerror}") from error
    return facts.st_size, facts.st_mtime_ns


def version_to_cache(container: str) -> Version:
    """By which what was read of it is remembered: what lies elsewhere is taken to stay the same during a run."""
    return UNKNOWN if is_url(container) else version_of(container)
