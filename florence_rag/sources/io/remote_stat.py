"""The state of a file before its bytes are read, and the limits of a transfer from another machine."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO, cast

from florence_rag.errors import InputError

_IN_MEMORY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """The limits of reading one file from another machine."""

    max_bytes: int = 2_000_000_000
    idle_s: float = 30.0  # without any byte
    response_s: float = 120.0  # for the headers, redirects included, or for one part of a file
    total_s: float = 1800.0
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class FileStat:
    """The state of a file, as far as it is known without reading it."""

    size_bytes: int = 0  # 0 if unknown
    version: int = 0  # a number that changes with the content, such as the modification time; 0 if unknown
    media_type: str = ""  # as a server declares it, such as "image/jpeg"; "" if unknown


def version_from(tag: object) -> int:
    """Return a positive number that stands for an ETag, a time or a checksum; 0 for an empty one."""
    digest = blake2b(str(tag).encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1 if tag else 0


def limited(
    blocks: Iterable[bytes], max_bytes: int, deadline: float, *, too_large: str, too_slow: str
) -> Iterator[bytes]:
    """Yield the blocks; raise InputError with one of the two messages where they exceed a limit.

    deadline is a time of `time.monotonic`.
    """
    size_bytes = 0
    for block in blocks:
        size_bytes += len(block)
        if size_bytes > max_bytes:
            raise InputError(too_large)
        if time.monotonic() > deadline:
            raise InputError(too_slow)
        yield block


def spool(blocks: Iterable[bytes], name: str, limits: TransferLimits, deadline: float) -> BinaryIO:
    """Return the blocks as a file: in memory if small, else on disk until it is closed."""
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 the caller closes it
    too_large = f"{name!r} has more than {limits.max_bytes:,} bytes; download it and index the file"
    too_slow = f"{name!r} took longer than {limits.total_s:g} s; download it and index the file"
    try:
        for block in limited(blocks, limits.max_bytes, deadline, too_large=too_large, too_slow=too_slow):
            file.write(block)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)
