"""A connection to Milvus Lite in this or another process, with everything in which it differs from a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from pymilvus import MilvusClient

from florence_rag.errors import InputError, StoreError, StoreLockedError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.base import Filter
from florence_rag.index.client import connect
from florence_rag.index.connection import Connection, VectorSearch
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.lite.internals import drop_marker
from florence_rag.index.lite.joined import JoinedDatabase, open_or_join
from florence_rag.index.lite.repair import SetAside, read_set_aside
from florence_rag.index.literals import all_of, literal
from florence_rag.index.rows import Row
from florence_rag.index.schema import CollectionSpec
from florence_rag.index.store_client import READ_S, WRITE_S
from florence_rag.index.tenants import folder_name, with_tenant

_PAGE_ROWS = 2_000  # which Lite reads in a third of a second
_GRPC_OPTIONS = {
    # A proxy that the environment names would be used even for this machine.
    "grpc.enable_http_proxy": 0,
    # pymilvus asks every ten seconds whether the server is there, and Lite hangs up on clients that ask so often.
    "grpc.keepalive_time_ms": 2**31 - 1,
    # How soon a call reaches the process that has succeeded the one that had the database open.
    "grpc.max_reconnect_backoff_ms": 500,
}


class LiteConnection(Connection):
    """A running Milvus Lite database. Only calls to another process are repeated, because that may end."""

    def __init__(self, address: Address, client: MilvusClient, database: LiteDatabase | JoinedDatabase) -> None:
        self._database = database
        super().__init__(address, client, max_wait_s=None if isinstance(database, JoinedDatabase) else 0.0)

    @classmethod
    def start(cls, address: Address, *, create: bool) -> LiteConnection:
        """Start or join the engine of a database, which is created if necessary and allowed, and connect to it."""
        if address.path is None:
            raise InputError(f"{address} is not a folder name; Milvus Lite needs a folder such as photos.db")
        database = open_or_join(address.path, create=create)
        try:
            uri, token = database.endpoint.uri, database.endpoint.token
            return cls(address, connect(address, uri, token, grpc_options=_GRPC_OPTIONS), database)
        except BaseException as error:
            database.release()
            if isinstance(database, JoinedDatabase) and isinstance(error, StoreUnavailableError):
                raise StoreLockedError(
                    f"another process has {address.path} open and does not answer ({error}); end it, and try again"
                ) from error
            raise

    @property
    def is_sole_writer(self) -> bool:
        """Whether nobody else can have a write under way: no other object or process has the database open."""
        return isinstance(self._database, LiteDatabase) and self._database.is_used_once

    def _search(self, request: VectorSearch) -> list[Row]:
        """Return the nearest rows with their distances; in this process without gRPC."""
        if isinstance(self._database, JoinedDatabase):
            return super()._search(request)
        return self._database.search(
            request.collection,
            request.query,
            anns_field=request.field,
            expr=request.expression or None,
            top_k=request.limit,
            metric_type=request.metric,
            search_params=request.params,
            output_fields=request.fields,
        )

    def set_rows_aside(self, collection: str, rows: Iterable[Row]) -> None:
        """Write rows that are about to be deleted to a file of JSON lines in the folder `set-aside`."""
        try:
            SetAside(self._database.path).write(self._aside(collection), rows)
        except OSError as error:
            raise StoreUnavailableError(f"{self.address} cannot be written ({error.strerror}); make room") from error

    def rows_set_aside(self, collection: str) -> Iterator[list[Row]]:
        """Yield the rows of each file that `set_rows_aside` wrote, newest first."""
        return read_set_aside(self._database.path, self._aside(collection))

    def _aside(self, collection: str) -> str:
        return f"{folder_name(with_tenant(collection, self.tenant.name or None))}.jsonl"

    def _release(self) -> None:
        self._database.release()

    def _load(self, spec: CollectionSpec) -> None:
        """Load the collection; build an index again that a kill has left half written."""
        try:
            super()._load(spec)
        except StoreError:
            self._drop_indexes(spec)
            self._create_indexes(spec, wait=False)
            super()._load(spec)

    def _stored_rows(
        self, collection: str, fields: list[str], filter: str, user_filter: Filter | None
    ) -> Iterator[Row]:
        """Iterate over the rows that match, in pages, so that other calls run in between.

        Lite complains about the iterators of pymilvus on the terminal, so this orders the rows as they do.
        """
        fields, last = list({"id", *fields}), ""
        while True:
            expression = all_of([filter, f"id > {literal(last)}" if last else ""])
            query = partial(
                self.client.query, collection, expression, fields, limit=_PAGE_ROWS, iterator="True", timeout=READ_S
            )
            page = self._call(collection, query, user_filter)
            yield from page
            if len(page) < _PAGE_ROWS:
                return
            last = page[-1]["id"]

    def _spread_deletes(self, collection: str) -> None:
        """Do nothing: a confirmed deletion is visible."""

    def flush(self, collection: str) -> None:
        """Make all writes so far durable."""
        self._call(collection, partial(self.client.flush, collection, timeout=WRITE_S))

    def drop(self, collection: str) -> None:
        """Delete the collection; the next start finishes a deletion that a kill cuts short."""
        marker = drop_marker(self._database.path, collection)
        with self.mapped_errors():
            marker.touch()
            self.client.drop_collection(collection, timeout=WRITE_S)
            marker.unlink()
