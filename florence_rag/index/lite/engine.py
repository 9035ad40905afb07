"""The Milvus Lite databases that this process holds open.

The engine runs in this process and locks its folder. All users of the same folder in this process share the engine; the
last one to leave releases the lock. Other processes of the user may join, by the endpoint that the engine publishes.
pymilvus could start the engine, too, but it hides why that failed, never releases the lock, and after a fork flushes
the parent's rows a second time.
"""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path
from typing import Any, ClassVar

from florence_rag.errors import StoreUnavailableError
from florence_rag.index.address import is_database
from florence_rag.index.lite.internals import LiteEngine
from florence_rag.index.lite.served import Endpoint
from florence_rag.index.rows import Row


class LiteDatabase:
    """The running engine of one folder. `acquire` starts or joins it, `release` leaves it."""

    # By folder; a process has one lock per folder, so one place must know which folders it has locked.
    running: ClassVar[dict[Path, LiteDatabase]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()
    _parent_databases: ClassVar[dict[Path, LiteDatabase]] = {}

    def __init__(self, path: Path, endpoint: Endpoint | None = None) -> None:
        self.path = path
        self.users = 0
        self._engine = LiteEngine(path, endpoint)
        self.endpoint = self._engine.own_endpoint

    @property
    def is_used_once(self) -> bool:
        """Whether it has one user in this process, and no other process has joined since it was opened."""
        return self.users == 1 and not self._engine.is_joined

    @classmethod
    def acquire(cls, path: Path, *, create: bool, endpoint: Endpoint | None = None) -> LiteDatabase:
        """Return the database of the folder, which is created if necessary and allowed.

        Args:
            path: The folder.
            create: Whether it may be created.
            endpoint: Where other processes expect it.
        """
        with cls._guard:
            if path not in cls.running:
                _check_folder(path, create)
                cls.running[path] = cls(path, endpoint)
            cls.running[path].users += 1
            return cls.running[path]

    def search(self, collection: str, query: Any, **options: Any) -> list[Row]:
        """Return the best rows with their distances, as `LiteEngine.search` does."""
        return self._engine.search(collection, query, **options)

    def release(self) -> None:
        """Leave the database; it stops and unlocks the folder with its last user."""
        with self._guard:
            self.users -= 1
            if self.users == 0:
                self.stop()

    def stop(self) -> None:
        """Stop the database, even if it is still in use, and unlock the folder."""
        if self.running.get(self.path) is self:
            del self.running[self.path]
            self._engine.stop()

    @classmethod
    def stop_all(cls) -> None:
        """Stop all databases of this process."""
        for database in list(cls.running.values()):
            database.stop()

    @classmethod
    def leave_to_parent(cls) -> None:
        """Leave the databases to the parent, in a forked child."""
        for database in cls.running.values():
            database._engine.close_lock_file()
        cls._guard = threading.Lock()
        cls._parent_databases = cls.running  # referenced, because garbage collection would stop them
        cls.running = {}


atexit.register(LiteDatabase.stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LiteDatabase.leave_to_parent)


def _check_folder(path: Path, create: bool) -> None:
    if path.is_file():
        raise StoreUnavailableError(f"{path} is a file, but Milvus Lite 3 needs a folder; choose another name")
    if is_database(path):
        return
    if not create:
        raise StoreUnavailableError(f"there is no database {path}; create it with: florence-rag index PATH --db {path}")
    if not path.parent.is_dir():
        raise StoreUnavailableError(f"there is no folder {path.parent}; create it, or put the database elsewhere")
    if path.is_dir() and any(path.iterdir()):
        raise StoreUnavailableError(f"the folder {path} contains other files than a database; choose another name")
