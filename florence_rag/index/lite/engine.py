"""Milvus Lite databases that this process holds open.

The engine runs in this process and locks its folder, so two processes never share one. All who open the same folder in
this process share the engine; the last to leave releases the lock. pymilvus could start the engine, too, but it hides
why that failed, never lets go of the lock, and after a fork flushes the parent's rows a second time.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.exceptions import DataDirLockedError

import florence_rag.index.logging_setup  # noqa: F401  for its effect
from florence_rag.errors import StoreLockedError, StoreUnavailableError
from florence_rag.index.lite.repair import drop_note, repair


class LiteDatabase:
    """The running engine of one folder. `acquire` starts or joins it, `release` leaves it."""

    # A process has one lock per folder, so it needs one place that knows which folders it has locked.
    _running: ClassVar[dict[Path, LiteDatabase]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()
    _left_to_parent: ClassVar[dict[Path, LiteDatabase]] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users = 0
        # One worker: two writes at once make Lite lose rows, and a call that was interrupted here still runs there.
        self._server, self._engine, self.port = start_server_in_thread(str(path), "127.0.0.1", 0, max_workers=1)

    @classmethod
    def acquire(cls, path: Path, *, create: bool) -> LiteDatabase:
        """The engine of the folder, which is made if need be and allowed."""
        with cls._guard:
            if path not in cls._running:
                _check_folder(path, create)
                cls._running[path] = _start(path)
            cls._running[path]._users += 1
            return cls._running[path]

    def release(self) -> None:
        """Leave the engine; with its last user it stops and unlocks the folder."""
        with self._guard:
            self._users -= 1
            if self._users == 0:
                self._stop()

    def _stop(self) -> None:
        del self._running[self.path]
        self._server.stop(2).wait()
        self._engine.close()

    @contextmanager
    def dropping(self, collection: str) -> Iterator[None]:
        """Within it, the collection's files are deleted; the next start finishes what a kill cuts short."""
        note = drop_note(self.path, collection)
        note.touch()
        yield
        note.unlink()

    @classmethod
    def _stop_all(cls) -> None:
        for database in list(cls._running.values()):
            database._stop()

    @classmethod
    def _forget_in_child(cls) -> None:
        """In a forked child: the engine is the parent's. Its lock must not outlive the parent here."""
        for database in cls._running.values():
            os.close(database._engine._lock_fd)
        cls._guard = threading.Lock()
        cls._left_to_parent = cls._running  # kept, as what is collected would be stopped
        cls._running = {}


atexit.register(LiteDatabase._stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LiteDatabase._forget_in_child)


def is_database(path: Path) -> bool:
    """Whether the folder holds a Milvus Lite database."""
    return (path / "LOCK").is_file()


def _check_folder(path: Path, create: bool) -> None:
    if path.is_file():
        raise StoreUnavailableError(f"{path} is a file, but Milvus Lite 3 keeps a folder; choose another name")
    if is_database(path):
        return
    if not create:
        raise StoreUnavailableError(f"there is no database {path}; make it with: florence-rag index PATH --db {path}")
    if not path.parent.is_dir():
        raise StoreUnavailableError(f"there is no folder {path.parent}; make it, or put the database elsewhere")
    if path.is_dir() and any(path.iterdir()):
        raise StoreUnavailableError(f"the folder {path} holds other things than a database; choose another name")


def _start(path: Path) -> LiteDatabase:
    try:
        database = LiteDatabase(path)
    except DataDirLockedError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise StoreUnavailableError(f"{path} cannot be locked ({cause.strerror}); use a local disk") from error
        raise StoreLockedError(
            f"another process has {path} open; close it there, or use a Milvus server, which many can share"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"{path} cannot be written ({error.strerror}), which Milvus Lite needs even to search"
        ) from error
    try:
        repair(path)
    except BaseException:
        database._engine.close()
        raise
    return database
