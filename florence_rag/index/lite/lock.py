"""Locks the folder of a Milvus Lite database, so that only one process has it open."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import DataDirLockedError

from florence_rag.errors import StoreCorruptError, StoreLockedError, StoreUnavailableError
from florence_rag.index.address import LOCK, is_database


class _Engine(MilvusLite):  # type: ignore[misc]
    """An engine that opens each collection once.

    Milvus Lite opens a collection when it is first used, and two calls that do so at once open it twice; what is
    written to one of both is lost.
    """

    def __init__(self, path: str) -> None:
        self._opening = RLock()
        super().__init__(path)

    def get_collection(self, *args: Any, **options: Any) -> Any:
        with self._opening:
            return super().get_collection(*args, **options)


def lock(path: Path) -> MilvusLite:
    """Return an engine that has locked the folder and not yet read it. Its `close` unlocks the folder."""
    try:
        return _Engine(str(path))
    except DataDirLockedError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise StoreUnavailableError(f"{path} cannot be locked ({cause.strerror}); use a local disk") from error
        raise StoreLockedError(f"another process has {path} open; close it there, and try again") from error
    except IsADirectoryError as error:
        raise StoreCorruptError(
            f"{path / LOCK} is a folder; repair it with: florence-rag repair --db {path}"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"{path} cannot be written ({error.strerror}), which Milvus Lite needs even to search"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep all other processes out of a database."""
    if not is_database(path):
        raise StoreUnavailableError(f"there is no database {path}; create it with: florence-rag index PATH --db {path}")
    engine = lock(path)
    try:
        yield
    finally:
        engine.close()
