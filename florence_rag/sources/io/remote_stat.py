"""What can be told of a thing elsewhere before it is fetched, and how much of it is fetched at most."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO, cast

from florence_rag.errors import InputError

IN_MEMORY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes: of one thing. idle_s: without any byte; total_s: for all of it. redirects: in a row."""

    max_bytes: int = 2_000_000_000
    idle_s: float = 30.0
    total_s: float = 1800.0
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """size_bytes: 0 if unknown. version: a number that changes with the content; 0 if there is nothing to tell it by.
    medium: such as "image/jpeg"; "" if unknown.
    """

    size_bytes: int = 0
    version: int = 0
    medium: str = ""


def version_from(mark: object) -> int:
    """A positive number that stands for an ETag, a time, a checksum; 0 for nothing."""
    digest = blake2b(str(mark).encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1 if mark else 0


def spooled(blocks: Iterable[bytes], name: str, limits: Limits, deadline: float) -> BinaryIO:
    """The bytes as a file: a small one in memory, a large one on disk, gone when it is closed."""
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 the caller closes it
    try:
        for block in blocks:
            file.write(block)
            if file.tell() > limits.max_bytes:
                raise InputError(f"{name!r} has more than {limits.max_bytes:,} bytes; download it and index the file")
            if time.monotonic() > deadline:
                raise InputError(f"{name!r} took longer than {limits.total_s:g} s; download it and index the file")
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)
