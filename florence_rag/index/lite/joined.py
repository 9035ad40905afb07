"""A database that another process has open: calls go to the engine of that process, and this one succeeds it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from florence_rag.errors import StoreError, StoreLockedError
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.lite.served import Endpoint, folder_id, published

_POLL_S = 0.2
_START_S = 3.0
"""How long a process that has locked a database may take to check it and to publish its endpoint."""


class JoinedDatabase:
    """A database in the engine of another process.

    When that process ends, this one opens the database at the same endpoint. Calls that wait meanwhile then succeed,
    and so do those of other processes that have joined.
    """

    def __init__(self, path: Path, endpoint: Endpoint) -> None:
        self.path, self.endpoint = path, endpoint
        self._folder = folder_id(path)
        self._own: LiteDatabase | None = None
        self._released = threading.Event()
        self._successor = threading.Thread(target=self._succeed, name="succeed the database", daemon=True)
        self._successor.start()

    def _succeed(self) -> None:
        """Wait until the database is unlocked, and open it; but not another one that has taken its place."""
        while not self._released.wait(_POLL_S):
            if folder_id(self.path) != self._folder:
                continue
            with suppress(StoreError):
                self._own = LiteDatabase.acquire(self.path, create=False, endpoint=self.endpoint)
                return

    def release(self) -> None:
        """Leave the database."""
        self._released.set()
        self._successor.join()
        if self._own:
            self._own.release()


def open_or_join(path: Path, *, create: bool) -> LiteDatabase | JoinedDatabase:
    """Start the engine of a folder, or join the one that runs in this or another process.

    Raises:
        StoreLockedError: If another process has the folder open and cannot be joined.
    """
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return LiteDatabase.acquire(path, create=create)
        except StoreLockedError:
            if endpoint := published(path):
                return JoinedDatabase(path, endpoint)
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
