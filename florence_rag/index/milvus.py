"""The index in Milvus: a folder named *.db is Milvus Lite inside this process, a URI is a server."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from types import TracebackType

from florence_rag.errors import InputError, StoreCorruptError, StoreError, StoreMismatchError
from florence_rag.index.address import Address
from florence_rag.index.answer_store import MilvusAnswerStore
from florence_rag.index.base import IndexInfo
from florence_rag.index.checksum import VECTOR_FIELDS
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.collection_swap import CollectionSwap
from florence_rag.index.connection import Connection
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.ledger import Entry, Ledger, Settings
from florence_rag.index.lite.connection import LiteConnection
from florence_rag.index.lite.integrity import damage_error
from florence_rag.index.reader import MilvusReader
from florence_rag.index.records import corrupt_error
from florence_rag.index.schema import vector_dtype_of
from florence_rag.index.store_profile import parse_version
from florence_rag.index.tenants import split_tenant, with_tenant
from florence_rag.index.writer import MilvusWriter
from florence_rag.redaction import keep_secret
from florence_rag.skip_counts import awaits_words, total_counts
from florence_rag.telemetry import get_logger
from florence_rag.types import EmbedderInfo, Failure, Kind, RejectedSource, Skipped, Source

_log = get_logger(__name__)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


class MilvusIndex(MilvusWriter, MilvusReader):
    """A `ReembeddableIndex` in Milvus. Create one with `open`, and `close` it, or use it in a `with` block.

    A Milvus Lite database is locked between the two. Threads may share the index. Rows are found at once after `add`,
    and they are durable after `flush` or `close`. `switch` replaces `chunks`, the collection that is searched.
    """

    @classmethod
    def open(
        cls,
        uri: str,
        embedder: EmbedderInfo,
        *,
        text_embedder: EmbedderInfo | None = None,
        token: str | None = None,
        collection: str = "florence",
        index_type: str | None = None,
        vector_dtype: VectorDtype | None = None,
        create: bool = True,
    ) -> MilvusIndex:
        """Open an index, and create it if it does not exist; `DatabaseOptions` explains the arguments.

        An existing index must have been filled by these embedders. A different index type rebuilds the index over the
        vectors. Nothing is written if an argument is not valid.
        """
        address = Address.parse(uri)
        _check_name(collection)
        address.profile.check_vectors(vector_dtype)
        if index_type is not None:
            address.profile.check_index_type(index_type)
        with _connected(address, token, collection, create=create) as (connection, collection):
            connection.profile.check_vectors(vector_dtype, text_vectors=text_embedder is not None)
            if index_type is not None:
                connection.check_index_type(index_type, vector_dtype or "fp32")
            ledger = Ledger(connection, collection)
            ledger.open_for(embedder, create=create, text_embedder=text_embedder, vector_dtype=vector_dtype)
            swap = CollectionSwap(connection, collection, ledger)
            if connection.is_sole_writer:  # otherwise somebody may still read the previous collection
                swap.drop_previous()
            index = cls(ChunkCollection.open(swap, swap.active(), embedder, index_type))
            index._check_rows(create)
            if notice := index._notice():
                _log.warning("%s: %s", address, notice)
            return index

    @classmethod
    def open_unchecked(cls, uri: str, token: str | None = None, collection: str = "florence") -> MilvusIndex:
        """Open an existing index for its recorded embedder, whatever its ledger and its rows contain, to check it."""
        embedder, text_embedder = cls.require_embedders(uri, token, collection)
        with _connected(Address.parse(uri), token, collection, create=False) as (connection, collection):
            ledger = Ledger(connection, collection)
            ledger.open_for(embedder, create=False, text_embedder=text_embedder)
            swap = CollectionSwap(connection, collection, ledger)
            return cls(ChunkCollection.open(swap, swap.active(), embedder, None))

    @staticmethod
    def restore_settings(
        uri: str, embedder: EmbedderInfo, text_embedder: EmbedderInfo | None, token: str | None, collection: str
    ) -> None:
        """Record these embedders in an index that has lost its settings; its vectors must have their dimensions."""
        opened = _connected(Address.parse(uri), token, collection, create=False)
        with opened as (connection, collection), closing(connection):
            moved = "" if connection.has(collection) else f"{collection}_{embedder.digest}"
            if not connection.has(moved or collection):
                raise StoreCorruptError(f"{uri!r} has no chunks of {embedder.name}; index the files again")
            fields = {field["name"]: field for field in connection.describe(moved or collection)["fields"]}
            widths = {name: int(fields[name]["params"]["dim"]) for name in VECTOR_FIELDS if name in fields}
            given = {"vector": embedder.dimension} | ({"text_vector": text_embedder.dimension} if text_embedder else {})
            if widths != given:
                raise StoreMismatchError(f"the vectors of {uri!r} have the dimensions {widths}, and the models {given}")
            dtype = vector_dtype_of(fields["vector"]["type"])
            ledger = Ledger(connection, collection)
            ledger.open()
            settings = Settings(
                embedder, chunks=moved, text_embedder=text_embedder, vector_dtype=dtype, checksums=False
            )
            ledger.put_settings(replace(settings, has_tenants=bool(connection.tenant.name)))

    @staticmethod
    def recorded_embedders(
        uri: str, token: str | None = None, collection: str = "florence"
    ) -> tuple[EmbedderInfo, EmbedderInfo | None] | None:
        """Return the embedder and the text embedder, if any, that filled an index; None if there is no index."""
        address = Address.parse(uri)
        _check_name(collection)
        if address.is_missing:
            return None
        with _connected(address, token, collection, create=False) as (connection, collection), closing(connection):
            ledger = Ledger(connection, collection)
            if not ledger.exists():
                return None
            ledger.open()
            settings = ledger.settings()
            if settings is None and connection.has(collection):
                raise corrupt_error(f"the index {collection!r} of {address} has lost its settings", address)
            return (settings.embedder, settings.text_embedder) if settings else None

    @staticmethod
    def require_embedders(
        uri: str, token: str | None = None, collection: str = "florence"
    ) -> tuple[EmbedderInfo, EmbedderInfo | None]:
        """Return what `recorded_embedders` returns, or raise StoreUnavailableError if there is no index."""
        if (recorded := MilvusIndex.recorded_embedders(uri, token, collection)) is None:
            raise Address.parse(uri).missing_error()
        return recorded

    def __enter__(self) -> MilvusIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            if error is None:  # otherwise it follows from that error, which says more
                raise

    def close(self) -> None:
        """Flush and release the store, which another process can then open. No other call is allowed afterwards."""
        try:
            if self.chunks.connection.is_usable:
                self.flush()
        finally:
            self.chunks.connection.close()

    @property
    def embedder(self) -> EmbedderInfo:
        """The embedder whose vectors are searched."""
        return self.chunks.embedder

    @property
    def text_embedder(self) -> EmbedderInfo | None:
        """The embedder of the text vectors, if the index has any."""
        return self.chunks.text_embedder

    @property
    def shadow_embedder(self) -> EmbedderInfo | None:
        """The embedder whose vectors fill the shadow collection, if there is one."""
        return self.chunks.swap.settings().shadow_embedder

    def sources(self) -> dict[str, Source]:
        """Return the complete sources by uri, sorted."""
        self.flush_buffer()
        entries = self.chunks.ledger.sources().values()
        return {entry.uri: entry.source for entry in entries if entry.source and entry.uri not in self._incomplete}

    def entries(self) -> Iterator[Entry]:
        """Iterate over the ledger: every source in any state, in no order; "begun" if rows are missing."""
        self.flush_buffer()
        for entry in self.chunks.ledger.entries():
            yield replace(entry, state="begun") if entry.uri in self._incomplete else entry

    def failures(self) -> tuple[Failure, ...]:
        """Return the sources that could not be indexed, sorted by uri."""
        self.flush_buffer()
        return self.chunks.ledger.failures()

    def rejected(self) -> dict[str, RejectedSource]:
        """Return the sources that a run need not read again before they change, by uri."""
        self.flush_buffer()
        return self.chunks.ledger.rejected()

    def skipped_parts(self) -> dict[str, Sequence[Skipped]]:
        """Return the parts that were not read of complete sources, by uri."""
        self.flush_buffer()
        return self.chunks.ledger.skipped_parts()

    def skipped_files(self) -> dict[str, dict[str, int]]:
        """Return the number of files that the last run over each folder skipped, by folder and by reason."""
        return self.chunks.ledger.skipped_files()

    def answer_store(self) -> MilvusAnswerStore:
        """Return the store of cached answers about the index's images, which is created if necessary."""
        return MilvusAnswerStore(self.chunks.connection, self.chunks.swap.index_name, self.embedder)

    def calibrations(self) -> Mapping[Kind, Mapping[str, float]]:
        """Return the calibration of each kind that has one, as `HasCalibrations.calibrations` says."""
        stored = self.chunks.swap.settings().calibrations
        if not all(math.isfinite(value) for some in stored.values() for value in some.values()):
            address = self.chunks.connection.address
            raise corrupt_error(f"the calibration of relevance in {address} is not finite", address)
        return stored

    def put_calibrations(self, calibrations: Mapping[Kind, Mapping[str, float]]) -> None:
        """Replace all calibrations; an index of tenants has none, as all of them would share it."""
        if self.chunks.connection.tenant.name:
            raise InputError("relevance cannot be calibrated in an index of tenants, as all of them would share it")
        swap = self.chunks.swap
        stored = {kind: dict(some) for kind, some in calibrations.items()}
        swap.ledger.put_settings(replace(swap.settings(), calibrations=stored))

    def info(self) -> IndexInfo:
        """Return a summary of the contents and the store."""
        self.flush_buffer()
        entries = [entry for entry in self.chunks.ledger.entries() if entry.uri not in self._incomplete]
        complete = [entry for entry in entries if entry.is_complete]
        counts: Counter[Kind] = Counter()
        for entry in complete:
            counts.update(entry.chunks)
        connection = self.chunks.connection
        return IndexInfo(
            uri=str(connection.address),
            collection=with_tenant(self.chunks.swap.index_name, connection.tenant.name or None),
            embedder=self.embedder,
            chunks=dict(sorted(counts.items())),
            sources=len(complete),
            failures=sum(entry.state == "failed" for entry in entries),
            index_type=self.chunks.index_type,
            server_version=connection.version,
            incomplete=tuple(sorted(self._incomplete)),
            text_embedder=self.text_embedder,
            shadow_embedder=self.shadow_embedder,
            vector_dtype=self.chunks.codec.dtype,
            advice=self._notice() or connection.profile.capacity_advice(counts.total()),
            skipped=total_counts((part for entry in complete for part in entry.skipped), self.skipped_files().values()),
            awaiting_words=sum(
                count
                for entry in complete
                if awaits_words(entry.skipped)
                for kind, count in entry.chunks.items()
                if kind != "text"
            ),
        )

    def _notice(self) -> str:
        """Return what the store of this index cannot do, and what to do about it, or ""."""
        version, faults = self.chunks.connection.version, []
        if not self.has_bm25:
            faults.append(
                f"words are not searched, as Milvus {version} has no BM25; use a server of 2.5 or later, or a folder"
            )
        if self.chunks.index_type == "IVF_PQ" and (parse_version(version) or (2, 4)) < (2, 4):
            faults.append(
                f"IVF_PQ of Milvus {version} misses most hits of a filtered search in a large collection, and searches "
                "by text are filtered by kind; use IVF_SQ8 or SCANN"
            )
        return "; ".join(faults)

    def open_shadow(self, embedder: EmbedderInfo) -> MilvusIndex:
        """Open the shadow of this index for another embedder, as `ReembeddableIndex.open_shadow` says."""
        swap = self.chunks.swap
        shadow = type(self)(ChunkCollection.open(swap, swap.prepare(embedder), embedder, self.chunks.index_type))
        shadow._check_rows(create=True)
        return shadow

    def switch(self, shadow: MilvusIndex) -> MilvusIndex:
        """Search the vectors of the shadow from now on, as `ReembeddableIndex.switch` says."""
        with self._lock:
            self.flush_buffer()
            shadow.flush()
            self.chunks.swap.switch()
            previous = type(self)(self.chunks)
            self._bind(shadow.chunks, shadow._incomplete)
        return previous

    def drop_previous(self) -> None:
        """Delete the collection that was searched before the last switch, if it still exists."""
        self.chunks.swap.drop_previous()

    def drop_shadow(self) -> None:
        """Delete the shadow, if there is one."""
        self.chunks.swap.drop_shadow()

    def _check_rows(self, create: bool) -> None:
        """Count sources with missing or extra rows as incomplete, so that the next run writes them again."""
        report = self.chunks.check_integrity()
        if not report.damaged:
            return
        where = self.chunks.connection.address
        if not report.present and not create:
            raise StoreCorruptError(f"{where} has lost all its {report.expected} chunks; index its files again")
        self.mark_incomplete(report.damaged)
        warnings.warn(
            f"{where} has {report.present} chunks where its ledger lists {report.expected}: "
            f"index the {len(report.damaged)} files again whose rows are missing or too many",
            RuntimeWarning,
            stacklevel=3,
        )


@contextmanager
def _connected(
    address: Address, token: str | None, collection: str, *, create: bool
) -> Iterator[tuple[Connection, str]]:
    """Connect a tenant to a store, and yield the name of the collection without the tenant.

    If the block fails, close the connection, and report a Lite database as corrupt.
    """
    keep_secret(token)
    name, tenant = split_tenant(collection)
    if address.path is None:
        connection = Connection.open(address, token)
    else:
        connection = LiteConnection.start(address, create=create)
    connection.tenant = tenant
    try:
        yield connection, name
    except BaseException as error:
        connection.close()
        if address.path is not None and type(error) is StoreError and "[Errno" not in str(error):
            raise damage_error(address.path, error) from error
        raise


def _check_name(collection: str) -> None:
    if not _NAME.fullmatch(split_tenant(collection)[0]):
        raise InputError(f"collection {collection!r} is not a valid name; use letters, digits and underscores")
