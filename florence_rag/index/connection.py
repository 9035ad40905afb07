"""A connection to a Milvus server, which reads and writes the rows of its collections."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from pymilvus import MilvusClient

from florence_rag.batching import batched
from florence_rag.errors import StoreError
from florence_rag.index.address import Address
from florence_rag.index.base import Filter
from florence_rag.index.client import hit_rows
from florence_rag.index.index_types import Params
from florence_rag.index.literals import all_of, literal
from florence_rag.index.rows import Row
from florence_rag.index.store_client import READ_S, WRITE_S, StoreClient
from florence_rag.index.store_errors import is_too_large
from florence_rag.index.tenants import Tenant
from florence_rag.telemetry import get_logger

_IDS_PER_CALL = 1000
_LAG_S = 10.0
"""Twice the seconds (common.gracefulTime) by which Milvus lets a reader of the level Bounded be behind all writers."""
_ROWS_PER_CALL = 1000
SEAL_ROWS = 1000
"""After how many written rows a flush of a server seals their segment; it builds no index for fewer than 1,024."""

_log = get_logger(__name__)
T = TypeVar("T")
R = TypeVar("R")


class VectorSearch(NamedTuple):
    """A search for the rows that are nearest to a vector, or that match terms best.

    Attributes:
        collection: The collection.
        field: The field that is compared.
        query: A vector (D,), or terms.
        limit: The number of rows.
        expression: What rows must meet; "" for no restriction.
        params: The parameters of the index.
        fields: The fields of a row that are returned.
        metric: The metric of the field.
    """

    collection: str
    field: str
    query: Any
    limit: int
    expression: str
    params: Params
    fields: list[str]
    metric: str


class Connection(StoreClient):
    """A Milvus server that answers. Threads of the process that opened it may share it."""

    def __init__(self, address: Address, client: MilvusClient, max_wait_s: float | None = None) -> None:
        self._written_at: dict[str, float] = {}  # by collection, in seconds of the monotonic clock
        self._unsealed_rows: Counter[str] = Counter()  # by collection
        self.tenant = Tenant()
        super().__init__(address, client, max_wait_s)

    def without_tenant(self) -> Self:
        """Return the same connection for records that all tenants share."""
        shared = copy(self)
        shared.tenant = Tenant()
        return shared

    @property
    def is_sole_writer(self) -> bool:
        """Whether nobody else can have a write under way: only where this connection has started Milvus Lite."""
        return False

    def set_rows_aside(self, collection: str, rows: Iterable[Row]) -> None:
        """Keep a copy of rows that are about to be deleted, if this connection is the sole writer."""

    def rows_set_aside(self, collection: str) -> Iterator[list[Row]]:
        """Yield the copies of rows that each call of `set_rows_aside` kept, those of the last call first."""
        return iter(())

    def count(self, collection: str, filter: str = "") -> int:
        """Count the rows, with all writes of every process."""
        filter = self.tenant.restrict(filter)

        def count() -> int:
            found = self.client.query(collection, filter, ["count(*)"], consistency_level="Strong", timeout=READ_S)
            return int(found[0]["count(*)"])

        return self._call(collection, count)

    def rows(
        self, collection: str, fields: list[str], filter: str = "", *, user_filter: Filter | None = None
    ) -> Iterator[Row]:
        """Iterate over the rows that match, in no order, with all writes of every process."""
        return self.tenant.from_stored(self._stored_rows(collection, fields, self.tenant.restrict(filter), user_filter))

    def _stored_rows(
        self, collection: str, fields: list[str], filter: str, user_filter: Filter | None
    ) -> Iterator[Row]:
        """Iterate over the rows that match as they are stored."""
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
        query = partial(self.client.query, collection, self.tenant.one_of_ids(ids), fields, timeout=READ_S)
        found = self._call(collection, partial(query, consistency_level=consistency or self._level(collection)))
        return list(self.tenant.from_stored(found))

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
        request = VectorSearch(
            collection, field, query, limit, self.tenant.restrict(expression), params, fields, metric
        )
        try:
            rows = self._call(collection, partial(self._search, request), user_filter)
        except StoreError as error:
            if not is_too_large(error.__cause__):
                raise
            hits = self._call(collection, partial(self._search, request._replace(fields=["id"])))
            found = list(self.tenant.from_stored(hits))
            whole = self.rows_of(collection, [hit["id"] for hit in found], fields)
            return [(whole[hit["id"]], float(hit["distance"])) for hit in found if hit["id"] in whole]
        return [(row, row.pop("distance")) for row in self.tenant.from_stored(rows)]

    def _search(self, request: VectorSearch) -> list[Row]:
        """Return the nearest rows, each with its id and its distance, as the store holds them."""
        # pymilvus executes this module in its first search, and several threads that search first at once break that.
        import scipy.sparse  # type: ignore[import-untyped] # noqa: F401

        query = request.query
        if isinstance(query, np.ndarray) and query.dtype == np.float32:
            query = query.tolist()  # pymilvus packs an array three times as slowly
        (hits,) = self.client.search(
            request.collection,
            data=[query],
            anns_field=request.field,
            filter=request.expression,
            limit=request.limit,
            search_params={"metric_type": request.metric, "params": request.params},
            output_fields=request.fields,
            consistency_level=self._level(request.collection),
            timeout=READ_S,
        )
        return hit_rows(hits)

    def upsert(self, collection: str, rows: Iterable[Row]) -> None:
        """Write whole rows; the last of several rows with the same id counts."""
        for some in batched(self.tenant.to_stored(rows), _ROWS_PER_CALL):
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
            filter = self.tenant.one_of_ids(some)
            self._call(collection, partial(self.client.delete, collection, filter=filter, timeout=WRITE_S))
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
