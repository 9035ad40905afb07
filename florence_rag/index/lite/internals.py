"""The engine of Milvus Lite, and what must happen before and after it has a folder open."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgspec
from milvus_lite.adapter.grpc.errors import to_status_kwargs
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.exceptions import MilvusLiteError
from milvus_lite.schema.types import DataType
from milvus_lite.search.filter import cache as filter_cache
from pymilvus import MilvusException
from pymilvus.grpc_gen.common_pb2 import Status
from pymilvus.grpc_gen.milvus_pb2_grpc import add_MilvusServiceServicer_to_server

from florence_rag.errors import StoreUnavailableError
from florence_rag.index.address import LOCK
from florence_rag.index.lite import checksums, failed_writes, search
from florence_rag.index.lite.access import TokenAccess
from florence_rag.index.lite.call_order import CallOrder, ReadWriteLock
from florence_rag.index.lite.integrity import COLLECTIONS, check, inspect_readable, is_begun
from florence_rag.index.lite.lock import lock
from florence_rag.index.lite.repair import set_strays_aside
from florence_rag.index.lite.served import FREE_PORT, Endpoint, new_target, publish, published, withdraw
from florence_rag.index.rows import Row

_DROP_MARKER = ".dropping-"
_MAX_CALLS = 64  # that run or wait for their turn; more wait in a queue
_MAX_MESSAGE_BYTES = 2**28  # what Milvus Lite sets for its own servers
_SERVER_OPTIONS = [
    *((f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("receive", "send")),
    ("grpc.so_reuseport", 0),  # otherwise another server could listen on the same port
]


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


class _Servicer(MilvusServicer):  # type: ignore[misc]
    """Answers the calls of other processes, and searches a snapshot as `LiteEngine.search` does."""

    def __init__(self, engine: Any, lock: ReadWriteLock) -> None:
        super().__init__(engine)
        self._lock = lock

    def Search(self, request: Any, context: Any) -> Any:
        try:
            collection = self._get_collection(request, context)
        except MilvusLiteError:
            return super().Search(request, context)  # which says what is wrong
        with search.searching_snapshot(collection, self._lock):
            return super().Search(request, context)


class LiteEngine:
    """The engine of one folder and the gRPC server in front of it. It locks the folder and checks it."""

    def __init__(self, path: Path, endpoint: Endpoint | None = None) -> None:
        checksums.install()
        failed_writes.install()
        search.install()
        self._path = path
        self._engine = lock(path)
        self._workers = ThreadPoolExecutor(_MAX_CALLS)
        endpoint = endpoint or published(path) or Endpoint()  # that of a process which was killed, if there is one
        self._access = TokenAccess(endpoint.token)
        self._order = CallOrder(self._problem)
        self._server = grpc.server(self._workers, options=_SERVER_OPTIONS, interceptors=[self._access, self._order])
        try:
            prepare(path)
            add_MilvusServiceServicer_to_server(_Servicer(self._engine, self._order.lock), self._server)
            target = self._listen(endpoint.target)
            self._server.start()
        except BaseException:
            self.stop()
            raise
        self.own_endpoint = Endpoint(target, self._access.own_token)
        publish(path, Endpoint(target, endpoint.token))

    @property
    def is_joined(self) -> bool:
        """Whether other processes have called."""
        return self._access.is_joined

    def search(self, collection: str, query: Any, **options: Any) -> list[Row]:
        """Return the best rows with their distances, without the gRPC server, which takes longer than most searches.

        Raises:
            MilvusException: As pymilvus does.
        """
        try:
            if problem := self._problem():
                raise MilvusException(message=problem)
            searched = self._engine.get_collection(collection)
            with search.searching_snapshot(searched, self._order.lock):
                (hits,) = searched.search([query], **options)
        except MilvusException:
            raise
        except Exception as error:  # as the server does
            raise MilvusException.from_status(Status(**to_status_kwargs(error))) from error
        encoded = {field.name for field in searched.schema.fields if field.dtype == DataType.JSON}
        return [
            {name: msgspec.json.decode(value) if name in encoded else value for name, value in hit["entity"].items()}
            | {"id": hit["id"], "distance": hit["distance"]}
            for hit in hits
        ]

    def _listen(self, target: str) -> str:
        """Listen there, or at a new address if that is not possible, and return where."""
        for each in (target, new_target(), FREE_PORT):
            with suppress(RuntimeError):
                port = self._server.add_insecure_port(each)
                return each if each.startswith("unix:") else f"127.0.0.1:{port}"
        raise StoreUnavailableError(f"{self._path} cannot be opened: no local address can be listened on")

    def stop(self) -> None:
        """Stop the server, wait for the call that it still runs, then stop the engine and unlock the folder."""
        self._server.stop(2).wait()
        self._workers.shutdown()
        if self._problem():
            self._leave_collections()
        else:
            withdraw(self._path)
        self._engine.close()

    def _leave_collections(self) -> None:
        """Close the logs, which hold all rows, without a flush, which would write to the folder that took the place."""
        for collection in self._engine._collections.values():
            for sink in (collection._wal._data_sink, collection._wal._delta_sink):
                if sink is not None:
                    sink.close()
        self._engine._collections.clear()

    def _problem(self) -> str:
        """Return that the folder is no longer the one that this engine has locked, or ""."""
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._engine._lock_fd), os.stat(self._path / LOCK)):
                return ""
        return "the folder was moved, deleted or replaced while it was open; open it again"

    def close_lock_file(self) -> None:
        """Close the lock file in a forked child, so that the lock does not outlive the parent."""
        os.close(self._engine._lock_fd)


def drop_marker(path: Path, collection: str) -> Path:
    """Return the file whose presence means that the collection is being deleted."""
    return path / f"{_DROP_MARKER}{collection}"


def prepare(path: Path) -> None:
    """Finish what a kill has cut short, in a folder that is locked and not yet read.

    Raises:
        DamagedDatabaseError: If a file is damaged. Nothing is changed then.
        StoreUnavailableError: If a file may not be read.
    """
    _finish_drops(path)
    collections = inspect_readable(path)
    check(collections, path)
    set_strays_aside(path, collections)
    for files in collections:
        for log in files.flushed_logs:
            log.unlink()  # Lite would find its rows twice
        if not is_begun(files.folder):
            shutil.rmtree(files.folder)  # without a schema it would prevent the collection from being created


def _finish_drops(path: Path) -> None:
    """Finish deletions of collections."""
    for marker in path.glob(f"{_DROP_MARKER}*"):
        folder = path / COLLECTIONS / marker.name.removeprefix(_DROP_MARKER)
        if folder.is_dir():
            shutil.rmtree(folder)
        marker.unlink()
