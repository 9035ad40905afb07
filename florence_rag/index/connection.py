"""One client of one Milvus: every call to pymilvus is made here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from pymilvus import MilvusClient

import florence_rag.index.logging_setup  # noqa: F401  for its effect
from florence_rag.errors import StoreError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.base import Filter
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.literals import one_of
from florence_rag.index.retry import RetryPolicy
from florence_rag.index.rows import Row
from florence_rag.index.schema import Table
from florence_rag.index.store_errors import STORE_EXCEPTIONS, is_not_loaded, to_florence_error

_OLDEST_SERVER = (2, 5)  # the first with BM25
_CONNECT_S = 5.0
_READ_S = 120.0
_WRITE_S = 600.0
_LOAD_S = 7200.0  # Lite builds missing indexes here
_IDS_PER_CALL = 1000
MAX_WAIT_S = 60.0
"""How long a server that stops answering is asked again before a call fails."""

T = TypeVar("T")

_LOCAL = {
    # A proxy that the environment names would be asked even for this very machine.
    "grpc.enable_http_proxy": 0,
    # pymilvus asks every ten seconds whether the server is there; that of Lite hangs up on who asks so often.
    "grpc.keepalive_time_ms": 2**31 - 1,
}


class Connection:
    """A Milvus that answers. Usable by several threads, in the process that opened it.

    A server may go away for a while: what reads, writes and flushes is repeated until it is back. That does no harm
    where the server did what it was asked and only its answer was lost, as rows are written under their ids.
    """

    def __init__(self, address: Address, client: MilvusClient, lite: LiteDatabase | None) -> None:
        self.address = address
        self.is_lite = lite is not None
        self._client = client
        self._lite = lite
        self._process = os.getpid()
        self._unusable = ""
        self._patience = RetryPolicy(0.0 if lite else MAX_WAIT_S)
        with self.mapped_errors():
            self.version = str(client.get_server_version(timeout=_CONNECT_S))

    @classmethod
    def open(cls, address: Address, token: str | None = None, *, create: bool) -> Connection:
        """Connect. create: whether a Milvus Lite database may be made."""
        if address.path is None:
            connection = cls(address, _connect(address, address.uri, token or ""), None)
            connection._check_server()
            return connection
        lite = LiteDatabase.acquire(address.path, create=create)
        try:
            return cls(address, _connect(address, f"http://127.0.0.1:{lite.port}", "", grpc_options=_LOCAL), lite)
        except BaseException:
            lite.release()
            raise

    def close(self) -> None:
        """Let go of the store and, as the last of this process, of the lock of a Milvus Lite database."""
        if self._unusable == "closed" or self._process != os.getpid():
            return
        self._unusable = "closed"
        self._client.close()
        if self._lite is not None:
            self._lite.release()

    @property
    def is_usable(self) -> bool:
        """Whether calls are allowed: not after close or a failed flush of Lite, nor in a fork."""
        return not self._unusable and self._process == os.getpid()

    @contextmanager
    def mapped_errors(self, filter: Filter | None = None) -> Iterator[None]:
        """Within it, what pymilvus raises becomes ours. filter: of the caller, who may have got it wrong."""
        if os.getpid() != self._process:  # connections do not survive a fork
            opener = f"process {self._process}, of which this one is a fork"
            raise StoreError(f"{self.address} was opened by {opener}; open it again here")
        if self._unusable:
            raise StoreError(f"{self.address} is {self._unusable}; open it again")
        try:
            yield
        except STORE_EXCEPTIONS as error:
            raise to_florence_error(error, str(self.address), filter) from error

    def _ask(self, collection: str, call: Callable[[], T], given: Filter | None = None) -> T:
        """What a call to the client returns, which is repeated where that can help. given: as in `mapped_errors`."""

        def prepare(error: BaseException) -> None:
            if is_not_loaded(error):
                with suppress(*STORE_EXCEPTIONS):
                    self._client.load_collection(collection, timeout=_READ_S)

        try:
            with self.mapped_errors(given):
                return self._patience(call, prepare)
        except StoreUnavailableError as error:
            if not (waited_s := self._patience.waited_s):
                raise
            raise StoreUnavailableError(
                f"{error.args[0].partition(';')[0]}, for {waited_s:.0f} s now; when it is back, run the same again: "
                "what is complete is kept"
            ) from error

    def has(self, collection: str) -> bool:
        """Whether the collection exists."""
        return self._ask(collection, lambda: bool(self._client.has_collection(collection, timeout=_READ_S)))

    def open_table(self, table: Table, *, reindex: bool = False) -> None:
        """Make of the table what is missing, and load it. An index that a kill left half written is built again;
        reindex: so are all."""
        if not self.has(table.name):
            with self.mapped_errors():
                self._client.create_collection(
                    table.name, schema=table.schema, consistency_level=table.consistency, timeout=_WRITE_S
                )
        if reindex:
            self._drop_indexes(table)
        self._index(table)
        try:
            self._load(table.name)
        except StoreError:
            if not self.is_lite:
                raise
            self._drop_indexes(table)
            self._index(table)
            self._load(table.name)

    def _drop_indexes(self, table: Table) -> None:
        with self.mapped_errors():
            self._client.release_collection(table.name, timeout=_WRITE_S)
            for field in self._indexed(table):
                self._client.drop_index(table.name, _index_name(field), timeout=_WRITE_S)

    def _index(self, table: Table) -> None:
        with self.mapped_errors():
            params = self._client.prepare_index_params()
            for field in table.indexes.keys() - self._indexed(table):
                params.add_index(field, index_name=_index_name(field), **table.indexes[field])
            if len(params):
                # Lite builds when it loads, and waiting for it would cost half a second for each index.
                self._client.create_index(table.name, params, timeout=_LOAD_S, sync=not self.is_lite)

    def _indexed(self, table: Table) -> set[str]:
        return {field for field in table.indexes if self._client.list_indexes(table.name, field_name=field)}

    def _load(self, collection: str) -> None:
        with self.mapped_errors():
            self._client.load_collection(collection, timeout=_LOAD_S)

    def index_type(self, collection: str, field: str) -> str | None:
        """What kind of index serves the field, if any."""
        if not self.has(collection):
            return None
        with self.mapped_errors():
            found = self._client.describe_index(collection, _index_name(field), timeout=_READ_S)
            return str(found["index_type"]) if found else None

    def max_length(self, collection: str, field: str) -> int:
        """How long a text in the field may be."""
        with self.mapped_errors():
            fields = self._client.describe_collection(collection, timeout=_READ_S)["fields"]
            return int(next(each["params"]["max_length"] for each in fields if each["name"] == field))

    def has_dynamic_field(self, collection: str) -> bool:
        """Whether its rows may have fields that its schema does not name."""
        describe = partial(self._client.describe_collection, collection, timeout=_READ_S)
        return bool(self._ask(collection, describe)["enable_dynamic_field"])

    def can_index(self, table: Table) -> str:
        """Why the server cannot build these indexes; "" if it can. Tried on an empty collection, which is dropped."""
        try:
            with self.mapped_errors():
                self._client.create_collection(table.name, schema=table.schema, timeout=_WRITE_S)
            self._index(table)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            return str(error)
        finally:
            self.drop(table.name)
        return ""

    def count(self, collection: str, filter: str = "") -> int:
        """How many rows there are, with all that was written by anyone."""

        def count() -> int:
            found = self._client.query(collection, filter, ["count(*)"], consistency_level="Strong", timeout=_READ_S)
            return int(found[0]["count(*)"])

        return self._ask(collection, count)

    def rows(
        self, collection: str, fields: list[str], filter: str = "", *, given: Filter | None = None
    ) -> Iterator[Row]:
        """All rows that match, in no order, with all that was written by anyone. given: as in `search`."""
        if self.is_lite:  # returns all at once, and complains of an iterator on the terminal
            yield from self._ask(
                collection, lambda: self._client.query(collection, filter, fields, timeout=_READ_S), given
            )
            return
        pages = self._ask(
            collection,
            lambda: self._client.query_iterator(
                collection, filter=filter, output_fields=fields, consistency_level="Strong", timeout=_READ_S
            ),
            given,
        )
        while page := self._ask(collection, pages.next, given):  # a page that was not got is asked for again
            yield from page
        pages.close()

    def rows_of(self, collection: str, ids: Sequence[str], fields: list[str]) -> dict[str, Row]:
        """The rows of those ids that exist, by id."""
        found: dict[str, Row] = {}
        for some in in_batches(ids, _IDS_PER_CALL):
            query = partial(self._client.query, collection, one_of("id", some), fields, timeout=_READ_S)
            found.update((row["id"], row) for row in self._ask(collection, query))
        return found

    def search(
        self,
        collection: str,
        field: str,
        query: Any,
        *,
        limit: int,
        expression: str,
        params: dict[str, Any],
        fields: list[str],
        given: Filter | None = None,
    ) -> list[tuple[Row, float]]:
        """The nearest rows with their distances. given: the caller's filter, to blame where the expression is wrong."""
        search = partial(
            self._client.search,
            collection,
            data=[query],
            anns_field=field,
            filter=expression,
            limit=limit,
            search_params=params,
            output_fields=fields,
            timeout=_READ_S,
        )
        (hits,) = self._ask(collection, search, given)
        return [({"id": hit["id"], **hit["entity"]}, float(hit["distance"])) for hit in hits]

    def upsert(self, collection: str, rows: list[Row]) -> None:
        """Write rows, whole; of equal ids the last counts."""
        unique = list({row["id"]: row for row in rows}.values())  # a server keeps the first of equal ids in a batch
        self._ask(collection, lambda: self._client.upsert(collection, unique, timeout=_WRITE_S))

    def delete(self, collection: str, filter: str) -> None:
        """Delete the rows that match."""
        self._ask(collection, lambda: self._client.delete(collection, filter=filter, timeout=_WRITE_S))

    def drop(self, collection: str) -> None:
        """Delete the collection, if there is one."""
        with self.mapped_errors(), self._lite.dropping(collection) if self._lite else nullcontext():
            self._client.drop_collection(collection, timeout=_WRITE_S)

    def flush(self, collection: str) -> None:
        """Make all writes so far durable."""
        try:
            self._ask(collection, lambda: self._client.flush(collection, timeout=_WRITE_S))
        except StoreError as error:
            if self.is_lite:  # it now sees no rows, and forgets what it promised next
                self._unusable = f"unusable since a flush failed ({error})"
            raise

    def _check_server(self) -> None:
        problem = server_problem(self.version)
        if problem:
            self.close()
            raise StoreError(f"{self.address} {problem}")


def server_problem(version: str) -> str:
    """Why an index cannot live on a server of this version; "" if it can."""
    if version.startswith("milvus_lite"):
        return "is a Milvus Lite server, which loses rows when two clients write; open its file instead"
    number = re.search(r"(\d+)\.(\d+)", version)
    if number and (int(number[1]), int(number[2])) < _OLDEST_SERVER:
        return f"runs Milvus {version}, but word search needs 2.5; upgrade it, or use a file such as photos.db"
    return ""


def _index_name(field: str) -> str:
    return f"{field}_idx"  # of any other name Lite takes no notice, and drops all indexes instead of one


def in_batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The items, some at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def batched(items: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """The same of what has no length."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _connect(address: Address, uri: str, token: str, **options: Any) -> MilvusClient:
    try:
        return MilvusClient(uri, token=token, timeout=_CONNECT_S, dedicated=True, **options)
    except STORE_EXCEPTIONS as error:
        raise to_florence_error(error, str(address)) from error
    except (OSError, ValueError) as error:  # of a URI that no server can have
        raise StoreUnavailableError(f"{address} names no server that can be reached ({error})") from error
