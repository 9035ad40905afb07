"""All use of Milvus Lite's internals: its engine, its exceptions, and the layout of its folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.exceptions import DataDirLockedError, ManifestCorruptedError
from milvus_lite.storage.manifest import Manifest

import florence_rag.index.logging_setup  # noqa: F401  for its effect
from florence_rag.errors import StoreCorruptError, StoreLockedError, StoreUnavailableError


class LiteEngine:
    """The engine of one folder and the gRPC server in front of it. It locks the folder."""

    def __init__(self, path: Path) -> None:
        # One worker: two writes at once make Lite lose rows, and a call that is interrupted here still runs there.
        self._server, self._engine, self.port = _start(path)

    def stop(self) -> None:
        """Stop the server and the engine, and unlock the folder."""
        self._server.stop(2).wait()
        self.unlock()

    def unlock(self) -> None:
        """Stop the engine and unlock the folder."""
        self._engine.close()

    def close_lock_file(self) -> None:
        """Close the lock file in a forked child, so that the lock does not outlive the parent."""
        os.close(self._engine._lock_fd)


def _start(path: Path) -> tuple[Any, Any, int]:
    try:
        server, engine, port = start_server_in_thread(str(path), "127.0.0.1", 0, max_workers=1)
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
    return server, engine, int(port)


def is_database(path: Path) -> bool:
    """Return whether the folder holds a Milvus Lite database."""
    return (path / "LOCK").is_file()


def collection_folder(path: Path, collection: str) -> Path:
    """Return the folder of one collection."""
    return path / "collections" / collection


def collection_folders(path: Path) -> list[Path]:
    """Return the folders of all collections of a database, sorted."""
    return sorted(each for each in (path / "collections").iterdir() if each.is_dir())


def has_schema(folder: Path) -> bool:
    """Return whether the folder of a collection has its schema."""
    return (folder / "schema.json").exists()


def flushed_logs(folder: Path, path: Path) -> Iterator[Path]:
    """Iterate over the write-ahead logs of a collection whose rows are flushed to data files already."""
    try:
        active = Manifest.load(str(folder)).active_wal_number or 0
    except ManifestCorruptedError as error:
        raise StoreCorruptError(f"{folder} has lost its manifest.json; restore {path} from a copy") from error
    for log in (folder / "wal").glob("wal_*_*.arrow"):
        if int(log.stem.rpartition("_")[2]) < active:
            yield log
