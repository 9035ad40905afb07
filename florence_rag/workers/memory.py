"""Limits the memory of a worker. Only Linux can: elsewhere the functions change nothing."""

import ctypes
import errno
import gc
import re
import sys
from contextlib import suppress

from florence_rag.errors import FlorenceError

if sys.platform == "linux":
    import resource

_MB = 2**20
_LIBRARIES = 96 * _MB
"""What the libraries of the decoders reserve when they are imported; they use less than half of it."""
_FAILED_ALLOCATION = re.compile("allocat|bad_alloc|out of memory|insufficient memory", re.IGNORECASE)


def data_bytes() -> int:
    """Return the size of the data of this process, which is what `limit_memory` limits; 0 if the system has none."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:")), 0)
    return 0


def limit_memory(base: int, allowed: int | None) -> None:
    """Let allocations fail that exceed `allowed` bytes, in addition to `base` and imported libraries."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = hard if allowed is None else base + _LIBRARIES + allowed
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def releases_memory(base: int, allowed: int | None) -> bool:
    """Release memory, and return whether at least half of what is allowed is free again, for what caches keep."""
    most = base + _LIBRARIES + (allowed or 0) // 2
    if data_bytes() > most:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
    return data_bytes() <= most


def require_memory(size: int) -> None:
    """Raise a MemoryError if so many bytes cannot be allocated now.

    Some decoders take a failed allocation for damage, or draw nothing. Call this before they start.
    """
    try:
        bytes(max(0, size))  # the system provides the memory when it is written, so this takes no time
    except (MemoryError, OverflowError) as error:
        raise MemoryError(f"{size / _MB:,.0f} MB cannot be allocated") from error


def is_memory_error(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, tells of a failed allocation."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, MemoryError) or getattr(link, "errno", None) == errno.ENOMEM:
            return True
        if not isinstance(link, FlorenceError) and _FAILED_ALLOCATION.search(str(link)):
            return True
        seen.append(link)
        link = link.__cause__ or link.__context__
    return False
