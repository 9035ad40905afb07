"""All use of Milvus Lite's internals: its engine, its exceptions, and the layout of its folders."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import grpc  # type: ignore[import-untyped]
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import DataDirLockedError, ManifestCorruptedError
from milvus_lite.search.filter import cache as filter_cache
from milvus_lite.storage.manifest import Manifest
from pymilvus.grpc_gen.milvus_pb2_grpc import add_MilvusServiceServicer_to_server

from florence_rag.errors import StoreCorruptError, StoreLockedError, StoreUnavailableError
from florence_rag.index.lite.call_order import CallOrder

_DROP_MARKER = ".dropping-"
_MAX_CALLS = 64  # that run or wait for their turn; more wait in a queue
_MAX_MESSAGE_BYTES = 2**28  # what Milvus Lite sets for its own servers


class _FilterCache(filter_cache.LRUCache):  # type: ignore[misc]
    """The cache of compiled filters, for calls that run side by side."""

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self._lock = Lock()

    def get(self, key: Any) -> Any:
        with self._lock:
            return super().get(key)

    def put(self, key: Any, value: Any) -> None:
        with self._lock:
            super().put(key, value)


filter_cache.LRUCache = _FilterCache


class LiteEngine:
    """The engine of one folder and the gRPC server in front of it. It locks the folder and repairs it."""

    def __init__(self, path: Path) -> None:
        self._engine = _lock(path)
        self._workers = ThreadPoolExecutor(_MAX_CALLS)
        sizes = [(f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("receive", "send")]
        self._server = grpc.server(self._workers, options=sizes, interceptors=[CallOrder()])
        try:
            repair(path)
            add_MilvusServiceServicer_to_server(MilvusServicer(self._engine), self._server)
            self.port = int(self._server.add_insecure_port("127.0.0.1:0"))
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, wait for the call that it still runs, then stop the engine and unlock the folder."""
        self._server.stop(2).wait()
        self._workers.shutdown()
        self._engine.close()

    def close_lock_file(self) -> None:
        """Close the lock file in a forked child, so that the lock does not outlive the parent."""
        os.close(self._engine._lock_fd)


def _lock(path: Path) -> MilvusLite:
    try:
        return MilvusLite(str(path))
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


def is_database(path: Path) -> bool:
    """Return whether the folder holds a Milvus Lite database."""
    return (path / "LOCK").is_file()


def drop_marker(path: Path, collection: str) -> Path:
    """Return the file whose presence means that the collection is being deleted."""
    return path / f"{_DROP_MARKER}{collection}"


def repair(path: Path) -> None:
    """Finish what a kill has cut short, in a folder that is locked and not yet read."""
    collections = path / "collections"
    for marker in path.glob(f"{_DROP_MARKER}*"):
        folder = collections / marker.name.removeprefix(_DROP_MARKER)
        if folder.is_dir():
            shutil.rmtree(folder)
        marker.unlink()
    for folder in sorted(each for each in collections.iterdir() if each.is_dir()):
        if (folder / "schema.json").exists():
            _delete_flushed_logs(folder, path)
        elif any(each.is_dir() for each in folder.iterdir()):
            raise StoreCorruptError(f"{folder} has lost its schema.json; restore {path} from a copy, or delete it")
        else:  # a folder without a schema would prevent the collection from being created
            shutil.rmtree(folder)


def _delete_flushed_logs(folder: Path, path: Path) -> None:
    """Delete the write-ahead logs whose rows are in data files already, because Lite would find these rows twice.

    A kill between the end of a flush and the deletion of its log leaves both.
    """
    try:
        active = Manifest.load(str(folder)).active_wal_number or 0
    except ManifestCorruptedError as error:
        raise StoreCorruptError(f"{folder} has lost its manifest.json; restore {path} from a copy") from error
    for log in (folder / "wal").glob("wal_*_*.arrow"):
        if int(log.stem.rpartition("_")[2]) < active:
            log.unlink()
