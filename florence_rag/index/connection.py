"""One client of one Milvus server: every call to pymilvus is made here."""

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar

from pymilvus import MilvusClient
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from florence_rag.batching import batched
from florence_rag.errors import FlorenceError, InputError, StoreError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.base import Filter
from florence_rag.index.client import CONNECT_S, connect, server_problem
from florence_rag.index.index_types import Params, VectorDtype
from florence_rag.index.literals import all_of, literal, one_of
from florence_rag.index.rows import Row
from florence_rag.index.schema import CollectionSpec, misfit, probe_rows, probe_spec
from florence_rag.index.store_errors import (
    STORE_EXCEPTIONS,
    is_not_loaded,
    is_too_large,
    is_transient,
    to_florence_error,
)
from florence_rag.index.store_profile import SERVER, StoreProfile, server_profile
from florence_rag.telemetry import get_logger

READ_S = 120.0
WRITE_S = 600.0
_LOAD_S = 7200.0  # Lite builds missing indexes while it loads
_STALL_S = 1800.0
"""How long no further row may be indexed; a server indexes whole segments, of up to a million rows."""
_PROBE_S = 60.0
_POLL_S = 0.5
_IDS_PER_CALL = 1000
_LAG_S = 10.0
"""Twice the seconds (common.gracefulTime) by which Milvus lets a reader of the level Bounded be behind all writers."""
_ROWS_PER_CALL = 1000
SEAL_ROWS = 1000
"""After how many written rows a flush of a server seals their segment; it builds no index for fewer than 1,024."""
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
MAX_WAIT_S = 60.0
"""How long a call is repeated while the server does not answer."""

_log = get_logger(__name__)
T = TypeVar("T")
R = TypeVar("R")


class Connection:
    """A Milvus server that answers. Threads of the process that opened it may share it.

    Calls that read, write and flush are repeated while the server is away. That is safe even if only an answer was
    lost, because rows are written under their ids.
    """

    def __init__(self, address: Address, client: MilvusClient, max_wait_s: float | None = None) -> None:
        self.address = address
        self.profile: StoreProfile = address.profile
        self.client = client
        self._process = os.getpid()
        self._is_closed = False
        self._written_at: dict[str, float] = {}  # by collection, in seconds of the monotonic clock
        self._unsealed_rows: Counter[str] = Counter()  # by collection
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

    @property
    def is_sole_writer(self) -> bool:
        """Whether nobody else can have a write under way: only where this connection has started Milvus Lite."""
        return False

    def set_rows_aside(self, collection: str, rows: Iterable[Row]) -> None:
        """Keep a copy of rows that are about to be deleted, if this connection is the sole writer."""

    def rows_set_aside(self, collection: str) -> Iterator[list[Row]]:
        """Yield the copies of rows that each call of `set_rows_aside` kept, those of the last call first."""
        return iter(())

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
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(FIRST_PAUSE_S, MAX_PAUSE_S),
            stop=stop_after_delay(0 if self._gave_up else self._max_wait_s),
            before_sleep=partial(self._load_again, collection),
            reraise=True,
        )
        try:
            with self.mapped_errors(user_filter):
                result = retrying(call)
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

    def _load_again(self, collection: str, state: RetryCallState) -> None:
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
                self.client.create_collection(
                    spec.name, schema=spec.schema, consistency_level=spec.consistency, timeout=WRITE_S
                )
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
            params = self.client.prepare_index_params()
            for field in missing:
                params.add_index(field, index_name=_index_name(field), **spec.indexes[field])
            if len(params):
                self.client.create_index(spec.name, params, timeout=_LOAD_S, sync=False)
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

    def count(self, collection: str, filter: str = "") -> int:
        """Count the rows, with all writes of every process."""

        def count() -> int:
            found = self.client.query(collection, filter, ["count(*)"], consistency_level="Strong", timeout=READ_S)
            return int(found[0]["count(*)"])

        return self._call(collection, count)

    def rows(
        self, collection: str, fields: list[str], filter: str = "", *, user_filter: Filter | None = None
    ) -> Iterator[Row]:
        """Iterate over the rows that match, in no order, with all writes of every process."""
        fields, last, page_rows = list({"id", *fields}), "", _IDS_PER_CALL
        while True:
            expression = all_of([filter, f"id > {literal(last)}" if last else ""])
            try:
                for row in self._pages(collection, fields, expression, page_rows, user_filter):
                    last = row["id"]
                    yield row
                return
            except StoreError as error:
                if page_rows == 1 or not is_too_large(error.__cause__):
                    raise
                page_rows //= 2

    def _pages(
        self, collection: str, fields: list[str], filter: str, page_rows: int, user_filter: Filter | None
    ) -> Iterator[Row]:
        """Iterate over the rows that match, in the order of their ids."""
        iterate = partial(self.client.query_iterator, collection, page_rows, filter=filter, output_fields=fields)
        pages = self._call(collection, partial(iterate, consistency_level="Strong", timeout=READ_S), user_filter)
        while page := self._call(collection, pages.next, user_filter):  # a page that did not arrive is fetched again
            yield from page
        pages.close()

    def rows_of(
        self, collection: str, ids: Sequence[str], fields: list[str], *, consistency: str | None = None
    ) -> dict[str, Row]:
        """Return the rows of those ids that exist, by id. consistency: by default that of searches."""
        found: dict[str, Row] = {}
        for some in batched(ids, _IDS_PER_CALL):
            query = partial(self._query_ids, collection, fields=fields, consistency=consistency)
            found.update((row["id"], row) for page in self._in_halves(query, some) for row in page)
        return found

    def _query_ids(self, collection: str, ids: Sequence[str], fields: list[str], consistency: str | None) -> list[Row]:
        query = partial(self.client.query, collection, one_of("id", ids), fields, timeout=READ_S)
        return list(self._call(collection, partial(query, consistency_level=consistency or self._level(collection))))

    def _level(self, collection: str) -> str:
        """Return which writes a read must see: all own ones, and those of other clients after the lag of the server.

        The level Session alone does not bound the age of what a client reads that writes nothing itself.
        """
        written = self._written_at.get(collection)
        return "Bounded" if written is None or time.monotonic() - written > _LAG_S else "Session"

    def _in_halves(self, call: Callable[[Sequence[T]], R], items: Sequence[T]) -> Iterator[R]:
        """Call with all items, or with one half of them after the other if that makes too large a message."""
        try:
            yield call(items)
        except StoreError as error:
            if len(items) == 1 or not is_too_large(error.__cause__):
                raise
            half = len(items) // 2
            yield from self._in_halves(call, items[:half])
            yield from self._in_halves(call, items[half:])

    def search(
        self,
        collection: str,
        field: str,
        query: Any,
        *,
        limit: int,
        expression: str,
        params: Params,
        fields: list[str],
        metric: str = "IP",
        user_filter: Filter | None = None,
    ) -> list[tuple[Row, float]]:
        """Return the nearest rows with their distances. user_filter: named in the error if the expression is wrong."""
        search = partial(
            self.client.search,
            collection,
            data=[query],
            anns_field=field,
            filter=expression,
            limit=limit,
            search_params={"metric_type": metric, "params": params},
            output_fields=fields,
            consistency_level=self._level(collection),
            timeout=READ_S,
        )
        try:
            (hits,) = self._call(collection, search, user_filter)
        except StoreError as error:
            if not is_too_large(error.__cause__):
                raise
            (found,) = self._call(collection, partial(search, output_fields=["id"]))
            rows = self.rows_of(collection, [hit["id"] for hit in found], fields)
            return [(rows[hit["id"]], float(hit["distance"])) for hit in found if hit["id"] in rows]
        return [({"id": hit["id"], **hit["entity"]}, float(hit["distance"])) for hit in hits]

    def upsert(self, collection: str, rows: Iterable[Row]) -> None:
        """Write whole rows; the last of several rows with the same id counts."""
        for some in batched(rows, _ROWS_PER_CALL):
            unique = list({row["id"]: row for row in some}.values())  # a server would keep the first of equal ids
            for _ in self._in_halves(partial(self._upsert, collection), unique):
                pass

    def _upsert(self, collection: str, rows: Sequence[Row]) -> None:
        self._call(collection, partial(self.client.upsert, collection, rows, timeout=WRITE_S))
        self._written_at[collection] = time.monotonic()
        self._unsealed_rows[collection] += len(rows)

    def delete(self, collection: str, ids: Iterable[str]) -> int:
        """Delete the rows with these ids and return their number, counting those that did not exist."""
        deleted = 0
        for some in batched(ids, _IDS_PER_CALL):
            self._call(collection, partial(self.client.delete, collection, filter=one_of("id", some), timeout=WRITE_S))
            deleted += len(some)
        if deleted:
            self._spread_deletes(collection)
        return deleted

    def _spread_deletes(self, collection: str) -> None:
        """Wait until searches no longer find what was deleted.

        A search waits for the time at which the server confirmed this client's last write, but Milvus 2.3 confirms a
        deletion at time 0. A read that sees the writes of everybody waits for it.
        """
        self.count(collection, f"id == {literal('')}")

    def drop(self, collection: str) -> None:
        """Delete the collection, if it exists."""
        with self.mapped_errors():
            self.client.drop_collection(collection, timeout=WRITE_S)

    def flush(self, collection: str) -> None:
        """Make all writes so far durable, and many of them fast and exact to search.

        A server has made a write durable when it confirms it. Its flush seals a segment, for which it then builds the
        index of the collection. It searches rows before that by an index of its own, which misses rows under a filter.
        """
        if self._unsealed_rows[collection] < SEAL_ROWS:
            return
        try:
            self._call(collection, partial(self.client.flush, collection, timeout=WRITE_S))
        except StoreError as error:
            _log.warning("%s; all rows are stored, but a search with a narrow filter may miss new ones at first", error)
        self._unsealed_rows[collection] = 0


def _index_name(field: str) -> str:
    return f"{field}_idx"  # Lite ignores any other name, and drops all indexes instead of one
