"""A client of one Milvus server that opens its collections and builds their indexes."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pymilvus import MilvusClient

from florence_rag.errors import FlorenceError, InputError, StoreError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.base import Filter
from florence_rag.index.client import CONNECT_S, connect, server_problem
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.schema import CollectionSpec, misfit, probe_rows, probe_spec
from florence_rag.index.store_errors import STORE_EXCEPTIONS, is_not_loaded, is_transient, to_florence_error
from florence_rag.index.store_profile import SERVER, StoreProfile, server_profile
from florence_rag.telemetry import get_logger

if TYPE_CHECKING:
    from tenacity import RetryCallState

READ_S = 120.0
WRITE_S = 600.0
_LOAD_S = 7200.0  # Lite builds missing indexes while it loads
_STALL_S = 1800.0
"""How long no further row may be indexed; a server indexes whole segments, of up to a million rows."""
_PROBE_S = 60.0
_POLL_S = 0.5
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
MAX_WAIT_S = 60.0
"""How long a call is repeated while the server does not answer."""

_log = get_logger(__name__)
T = TypeVar("T")


class StoreClient:
    """A Milvus server that answers, with its collections. `Connection` adds the reading and writing of rows.

    Calls that read, write and flush are repeated while the server is away. That is safe even if only an answer was
    lost, because rows are written under their ids.
    """

    def __init__(self, address: Address, client: MilvusClient, max_wait_s: float | None = None) -> None:
        self.address = address
        self.profile: StoreProfile = address.profile
        self.client = client
        self._process = os.getpid()
        self._is_closed = False
        self._max_wait_s = MAX_WAIT_S if max_wait_s is None else max_wait_s
        self._gave_up = False
        try:
            with self.mapped_errors():
                self.version = str(client.get_server_version(timeout=CONNECT_S))
        except BaseException:
            client.close()
            raise
        if self.profile is SERVER:
            self.profile = server_profile(self.version)

    @classmethod
    def open(cls, address: Address, token: str | None = None) -> Self:
        """Connect to a server, or raise StoreError if an index cannot live on it."""
        connection = cls(address, connect(address, address.uri, token or ""))
        if problem := server_problem(connection.version):
            connection.close()
            raise StoreError(f"{address} {problem}")
        return connection

    def close(self) -> None:
        """Release the store."""
        if self._is_closed or self._process != os.getpid():
            return
        self._is_closed = True
        self.client.close()
        self._release()

    def _release(self) -> None:
        """Release the resources of the connection other than its client."""

    @property
    def is_usable(self) -> bool:
        """Whether calls are allowed: not after close, and not in a forked process."""
        return not self._is_closed and self._process == os.getpid()

    @contextmanager
    def mapped_errors(self, filter: Filter | None = None) -> Iterator[None]:
        """Map the exceptions of pymilvus to those of this package. filter: a filter of the caller that may be wrong."""
        if os.getpid() != self._process:  # connections do not survive a fork
            opener = f"process {self._process}, of which this one is a fork"
            raise StoreError(f"{self.address} was opened by {opener}; open it again here")
        if self._is_closed:
            raise StoreError(f"{self.address} is closed; open it again")
        try:
            yield
        except STORE_EXCEPTIONS as error:
            raise to_florence_error(error, str(self.address), filter) from error

    def _call(self, collection: str, call: Callable[[], T], user_filter: Filter | None = None) -> T:
        """Call the client, and repeat the call with growing pauses while the server is away.

        After a call has failed for `max_wait_s` seconds, later calls are tried only once, so that what follows, such as
        closing, does not wait as long again. The first answer resets this.
        """
        try:
            with self.mapped_errors(user_filter):
                try:
                    result = call()
                except STORE_EXCEPTIONS as error:
                    if not is_transient(error):
                        raise
                    result = self._repeat(collection, call, error)
        except FlorenceError as error:
            self._gave_up = is_transient(error.__cause__)
            if not (self._gave_up and self._max_wait_s and isinstance(error, StoreUnavailableError)):
                raise
            raise StoreUnavailableError(
                f"{error.args[0].partition(';')[0]}, for {self._max_wait_s:.0f} s now; when it is back, run the same "
                "again: complete sources are kept"
            ) from error
        self._gave_up = False
        return result

    def _repeat(self, collection: str, call: Callable[[], T], error: Exception) -> T:
        """Repeat a call that has failed with a transient error."""
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

        failed = [error]  # tenacity counts it as the first attempt, but takes longer than a call that succeeds at once

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return call()

        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(FIRST_PAUSE_S, MAX_PAUSE_S),
            stop=stop_after_delay(0 if self._gave_up else self._max_wait_s),
            before_sleep=partial(self._load_again, collection),
            reraise=True,
        )
        return retrying(attempt)

    def _load_again(self, collection: str, state: "RetryCallState") -> None:
        """Load the collection before a call is repeated that failed because the server has not loaded it."""
        if state.outcome and is_not_loaded(state.outcome.exception()):
            with suppress(*STORE_EXCEPTIONS):
                self.client.load_collection(collection, timeout=READ_S)

    def has(self, collection: str) -> bool:
        """Return whether the collection exists."""
        return self._call(collection, lambda: bool(self.client.has_collection(collection, timeout=READ_S)))

    def open_collection(self, spec: CollectionSpec, *, reindex: bool = False) -> None:
        """Create the collection and its indexes if they are missing, and load it; `reindex` builds indexes again."""
        is_new = not self.has(spec.name)
        if is_new:
            with self.mapped_errors():
                try:
                    self.client.create_collection(
                        spec.name, schema=spec.schema, consistency_level=spec.consistency, timeout=WRITE_S
                    )
                except STORE_EXCEPTIONS:  # also if another process has created it meanwhile
                    if not self.has(spec.name):
                        raise
        elif problem := misfit(self.describe(spec.name), spec):
            name = f"the collection {spec.name!r} of {self.address}"
            raise StoreMismatchError(f"{name} was created by another program ({problem}); choose another name")
        if reindex:
            self._drop_indexes(spec)
        self._create_indexes(spec, wait=not (is_new or self.profile.builds_on_load))
        self._load(spec)

    def _drop_indexes(self, spec: CollectionSpec) -> None:
        with self.mapped_errors():
            self.client.release_collection(spec.name, timeout=WRITE_S)
            for field in self._indexed(spec):
                self.client.drop_index(spec.name, _index_name(field), timeout=WRITE_S)

    def _create_indexes(self, spec: CollectionSpec, *, wait: bool = True, stall_s: float = _STALL_S) -> None:
        """Create the missing indexes. wait: until they are built, or for `stall_s` seconds without progress."""
        missing = spec.indexes.keys() - self._indexed(spec)
        with self.mapped_errors():
            for field in missing:
                params = self.client.prepare_index_params()
                params.add_index(field, index_name=_index_name(field), **spec.indexes[field])
                try:
                    self.client.create_index(spec.name, params, timeout=_LOAD_S, sync=False)
                except STORE_EXCEPTIONS:  # also if another process has created it meanwhile
                    if field not in self._indexed(spec):
                        raise
        for field in missing if wait else ():
            self._wait_for_index(spec.name, field, stall_s)

    def _wait_for_index(self, collection: str, field: str, stall_s: float) -> None:
        """Wait until an index is built. A server that cannot build it may try forever, and give no reason."""
        indexed, since = -1, time.monotonic()
        while True:
            found = self._call(
                collection, partial(self.client.describe_index, collection, _index_name(field), timeout=READ_S)
            )
            if found["state"] == "Finished":
                return
            rows = f"{found['indexed_rows']:,} of {found['total_rows']:,} rows of {collection!r} are indexed"
            if found["state"] == "Failed":
                raise StoreError(
                    f"{self.address} cannot build the index {found['index_type']}: {rows}; look at its log"
                )
            if found["indexed_rows"] > indexed:
                indexed, since = found["indexed_rows"], time.monotonic()
                _log.info("index %s: %s", found["index_type"], rows)
            if time.monotonic() - since > stall_s:
                raise StoreError(
                    f"{self.address} does not build the index {found['index_type']}: {rows}, no more since "
                    f"{stall_s:.0f} s; it may lack this type or room: look at its log"
                )
            time.sleep(_POLL_S)

    def _indexed(self, spec: CollectionSpec) -> set[str]:
        return {field for field in spec.indexes if self.client.list_indexes(spec.name, field_name=field)}

    def _load(self, spec: CollectionSpec) -> None:
        with self.mapped_errors():
            self.client.load_collection(spec.name, timeout=_LOAD_S)

    def index_type(self, collection: str, field: str) -> str | None:
        """Return the type of the index over a field, if there is one."""
        if not self.has(collection):
            return None
        with self.mapped_errors():
            found = self.client.describe_index(collection, _index_name(field), timeout=READ_S)
            return str(found["index_type"]) if found else None

    def describe(self, collection: str) -> dict[str, Any]:
        """Return what the store says of a collection: its fields, and whether rows may have others."""
        return self._call(collection, partial(self.client.describe_collection, collection, timeout=READ_S))

    def check_index_type(self, name: str, dtype: VectorDtype) -> None:
        """Raise InputError if this store cannot build the index over vectors of this precision.

        The version of a server does not show whether it was built for GPUs or with DISKANN, so it is asked to index a
        small collection, which is dropped.
        """
        index_type = self.profile.check_index_type(name, self.version)
        if not (index_type.gpu or index_type.probe_rows):
            return
        spec = probe_spec(self.profile, f"florence_probe_{uuid.uuid4().hex}", index_type.name, dtype)
        try:
            with self.mapped_errors():
                self.client.create_collection(spec.name, schema=spec.schema, timeout=WRITE_S)
                if rows := probe_rows(index_type.probe_rows, dtype):
                    self.client.upsert(spec.name, rows, timeout=WRITE_S)
                    self.client.flush(spec.name, timeout=WRITE_S)  # a server indexes no segment that still grows
            self._create_indexes(spec, stall_s=_PROBE_S)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            built, image = ("for GPUs, and a GPU", "-gpu") if index_type.gpu else (f"with {index_type.name}", "")
            raise InputError(
                f"index type {name!r} needs a Milvus server that was built {built} ({error}); "
                f"use HNSW, or a server such as the image milvusdb/milvus:v2.6.4{image}"
            ) from error
        finally:
            self.drop(spec.name)

    def drop(self, collection: str) -> None:
        """Delete the collection, if it exists."""
        with self.mapped_errors():
            self.client.drop_collection(collection, timeout=WRITE_S)


def _index_name(field: str) -> str:
    return f"{field}_idx"  # Lite ignores any other name, and drops all indexes instead of one
