"""The index in Milvus: a file path is Milvus Lite inside this process, a URI is a server."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import copy
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from florence_rag.errors import InputError, StoreCorruptError, StoreError, StoreUnavailableError
from florence_rag.index import schema
from florence_rag.index.address import Address
from florence_rag.index.answer_store import MilvusAnswerStore
from florence_rag.index.base import Filter, IndexInfo
from florence_rag.index.capabilities import check_capabilities
from florence_rag.index.collection_swap import CollectionSwap
from florence_rag.index.connection import Connection
from florence_rag.index.index_types import VectorDtype, capacity_advice, check_index_type
from florence_rag.index.integrity_check import recount
from florence_rag.index.ledger import Ledger, Settings
from florence_rag.index.lite.engine import is_database
from florence_rag.index.lite.metadata import emptied
from florence_rag.index.reader import Reader
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import Row, checked_metadata
from florence_rag.index.text_codec import decode_uri
from florence_rag.index.writer import Writer
from florence_rag.types import Chunk, EmbedderInfo, Failure, Hit, Kind, SkippedSource, Source

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


class MilvusIndex:
    """A ChunkIndex in Milvus. `open` it, and `close` it: a Milvus Lite database is locked in between.

    Threads may share it. What was added is found at once; it is durable after `flush` or `close`.
    """

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        collection: str,
        embedder: EmbedderInfo,
        index_type: str,
        succession: CollectionSwap,
    ) -> None:
        self.embedder = embedder
        self.text_embedder = succession.text_embedder
        self._connection = connection
        self._ledger = ledger
        self._collection = collection
        self._index_type = index_type
        self._succession = succession
        check = partial(succession.check, collection)
        self._form = RowCodec(succession.vector_dtype, flat=connection.has_dynamic_field(collection))
        self._writer = Writer(
            connection, collection, ledger, embedder.dimension, check, succession.text_dimension, self._form
        )
        self._reader = Reader(
            connection,
            collection,
            self._writer.flush_buffer,
            self._form,
            index_type,
            embedder.dimension,
            succession.text_dimension,
        )
        self._incomplete: set[str] = set()
        self._max_id_bytes = connection.max_length(collection, "id")

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
        """Open an index, or make it.

        embedder: must be the one that filled the index. text_embedder: likewise, the one of the words, where the index
        has vectors of these besides. index_type: of the vectors; by default what the index has, and for a new one FLAT
        on Milvus Lite and HNSW on a server; another than the index has builds it anew. vectors: of a new index, the
        numbers: half precision only on servers. create: whether a missing index is made.

        InputError for what the store cannot do, before anything is written.
        """
        address = Address.parse(uri)
        _check_name(collection)
        lite = address.path is not None
        schema.check_vector_dtype(vector_dtype, lite=lite)
        if index_type is not None:
            check_index_type(index_type, lite=lite)
        with _connecting(address, token, create) as connection:
            if index_type is not None:
                check_capabilities(connection, index_type, vector_dtype or "fp32")
            ledger = Ledger(connection, collection)
            ledger.open_for(embedder, create=create, text_embedder=text_embedder, vector_dtype=vector_dtype)
            succession = CollectionSwap(connection, collection, ledger)
            if connection.is_lite:  # on a server another machine may still read what it retired
                succession.drop_previous()
            index = cls._opened(connection, succession, succession.chunks, embedder, index_type)
            index._check_rows(create)
            return index

    @classmethod
    def _opened(
        cls,
        connection: Connection,
        succession: CollectionSwap,
        collection: str,
        embedder: EmbedderInfo,
        index_type: str | None,
    ) -> MilvusIndex:
        """The index whose chunks are in this collection, which is made if need be."""
        ledger = succession.ledger_of(collection)
        if collection != succession.collection:
            ledger.open_for(
                embedder, create=True, text_embedder=succession.text_embedder, vector_dtype=succession.vector_dtype
            )
        present = connection.index_type(collection, "vector")
        wanted = schema.index_type_for(index_type, present, lite=connection.is_lite)
        table = schema.chunk_table(
            collection,
            embedder.dimension,
            wanted,
            succession.text_dimension,
            vector_dtype=succession.vector_dtype,
            lite=connection.is_lite,
        )
        connection.open_table(table, reindex=present not in (None, wanted))
        return cls(connection, ledger, collection, embedder, wanted, succession)

    @staticmethod
    def recorded_embedder(uri: str, token: str | None = None, collection: str = "florence") -> EmbedderInfo | None:
        """The embedder that filled the index; None if there is no index, which makes none either."""
        recorded = MilvusIndex.recorded_embedders(uri, token, collection)
        return recorded[0] if recorded else None

    @staticmethod
    def recorded_embedders(
        uri: str, token: str | None = None, collection: str = "florence"
    ) -> tuple[EmbedderInfo, EmbedderInfo | None] | None:
        """The embedder that filled the index, and the one of its words, where it has vectors of these besides."""
        address = Address.parse(uri)
        _check_name(collection)
        if address.path is not None and not is_database(address.path):
            return None
        with _connecting(address, token, create=False) as connection, closing(connection):
            ledger = Ledger(connection, collection)
            if not ledger.exists():
                return None
            ledger.open()
            settings = ledger.settings()
            return (settings.embedder, settings.text_embedder) if settings else None

    @staticmethod
    def require_embedders(
        uri: str, token: str | None = None, collection: str = "florence"
    ) -> tuple[EmbedderInfo, EmbedderInfo | None]:
        """The same of an index that must be there; StoreUnavailableError where there is none."""
        if (recorded := MilvusIndex.recorded_embedders(uri, token, collection)) is None:
            raise StoreUnavailableError(
                f"there is no database at {uri!r}; make one with: florence-rag index PATH --db {uri}"
            )
        return recorded

    def __enter__(self) -> MilvusIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            if error is None:  # else it follows from that error, which says more
                raise

    def close(self) -> None:
        """Flush and let go of the store, of which another process can then take hold."""
        try:
            if self._connection.is_usable:
                self._writer.flush()
        finally:
            self._connection.close()

    def sources(self) -> dict[str, Source]:
        """The sources that are wholly indexed by their uri, sorted."""
        self._writer.flush_buffer()
        entries = self._ledger.sources().values()
        return {entry.uri: entry.source for entry in entries if entry.source and entry.uri not in self._incomplete}

    def failures(self) -> tuple[Failure, ...]:
        """The sources that could not be indexed, sorted by uri."""
        self._writer.flush_buffer()
        return self._ledger.failures()

    def begin(self, source: Source) -> None:
        """Announce a source whose chunks follow; all older rows of its uri are dropped."""
        self._writer.begin(source)

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Store chunks of announced sources. vectors: (N, D) float32, unit length, one row per chunk.

        text_vectors: (N, T), likewise, of their words, and zeros where there are none; for an index that keeps these.
        """
        for chunk in chunks:
            if len(chunk.id.encode("utf-8", "replace")) > self._max_id_bytes:
                raise InputError(
                    f"the id {chunk.id[:80]!r} is too long for this index, which an older florence_rag made: "
                    f"allowed are {self._max_id_bytes} bytes; index into a new database for longer ones"
                )
        self._writer.add(chunks, vectors, text_vectors)

    def complete(self, source: Source) -> None:
        """Declare that all chunks of the source were added."""
        self._writer.complete(source)
        self._incomplete.discard(source.uri)

    def fail(self, uri: str, reason: str, source: Source | None = None) -> None:
        """Record why a source could not be indexed; its rows are dropped.

        source: as it was, if the reason lies in its bytes; then it is one of those `left_out`.
        """
        self._writer.fail(uri, reason, source)
        self._incomplete.discard(uri)

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Record that another source, of the uri like, stands for this one; its rows are dropped."""
        self._writer.mark_duplicate(source, duplicate_of)
        self._incomplete.discard(source.uri)

    def skipped(self) -> dict[str, SkippedSource]:
        """By uri, the sources that need not be looked at again before they change."""
        self._writer.flush_buffer()
        return self._ledger.skipped()

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and times of sources whose bytes are the same."""
        self._writer.update_stat(sources)

    def delete_sources(self, uris: Iterable[str]) -> int:
        """Forget sources and failures; how many rows went with them."""
        gone = list(uris)
        rows = self._writer.delete(gone)
        self._incomplete.difference_update(gone)
        return rows

    def answer_store(self) -> MilvusAnswerStore:
        """What was answered about its pictures, in a collection beside it that is made if need be."""
        return MilvusAnswerStore(self._connection, self._succession.collection, self.embedder)

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the metadata of chunks, by their ids; an unknown id is an InputError, and nothing is replaced."""
        rows = self._reader.whole_rows_of(list(metadata))
        given = [checked_metadata(metadata[row["id"]], decode_uri(row["source"])) for row in rows]
        kept = map(emptied, rows) if self._form.flat else rows
        self._writer.load(row | {"metadata": each} for row, each in zip(kept, given, strict=True))

    def flush_buffer(self) -> None:
        """Send what has gathered, so that all who have the index open find it."""
        self._writer.flush_buffer()

    def flush(self) -> None:
        """Make everything so far durable and fast to search."""
        self._writer.flush()

    def search_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """The k chunks nearest to vector (D,), best first, ties by id. score: the cosine."""
        return self._reader.search_vector(vector, k, kinds, filter)

    def search_text_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """The k chunks whose words are nearest to vector (T,), best first, ties by id. score: the cosine.

        InputError of an index that keeps no vectors of words.
        """
        return self._reader.search_text_vector(vector, k, kinds, filter)

    def search_bm25(
        self, query: str, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """The k chunks whose words fit the query best, ties by id. score: BM25, above 0, larger is better.

        Milvus Lite weighs a word by how rare it is among the rows that were flushed together.
        """
        return self._reader.search_bm25(query, k, kinds, filter)

    def find(self, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None) -> Iterator[Hit]:
        """All chunks that fit, in no order, with score 0."""
        return self._reader.find(kinds, filter)

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """The chunks of these ids, in this order, with score 0; unknown ids are left out."""
        return self._reader.get(ids)

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, D): the vectors of these ids, in this order; an unknown id is an InputError."""
        return self._reader.vectors(ids)

    def text_vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, T): the vectors of the words of these ids, in this order, zeros where there are none; an unknown id is an
        InputError."""
        return self._reader.text_vectors(ids)

    def info(self) -> IndexInfo:
        """What is in the index."""
        self._writer.flush_buffer()
        entries = [entry for entry in self._ledger.entries() if entry.uri not in self._incomplete]
        complete = [entry for entry in entries if entry.state == "complete"]
        chunks: Counter[Kind] = Counter()
        for entry in complete:
            chunks.update(entry.chunks)
        return IndexInfo(
            uri=str(self._connection.address),
            collection=self._succession.collection,
            embedder=self.embedder,
            chunks=dict(sorted(chunks.items())),
            sources=len(complete),
            failures=sum(entry.state == "failed" for entry in entries),
            index_type=self._index_type,
            server_version=self._connection.version,
            incomplete=tuple(sorted(self._incomplete)),
            text_embedder=self.text_embedder,
            shadow_embedder=self.shadow_embedder,
            vector_dtype=self._form.dtype,
            advice=capacity_advice(sum(chunks.values())) if self._connection.is_lite else "",
        )

    def chunks_of(self, uris: Collection[str]) -> Iterator[Hit]:
        """All chunks of these sources, in no order, with score 0."""
        return self._reader.chunks_of(uris)

    @property
    def vector_dtype(self) -> VectorDtype:
        """How many bits the numbers of its vectors have in the store."""
        return self._form.dtype

    def stored_rows(self) -> Iterator[Row]:
        """All rows of complete sources as they are stored, but for what the store computes; vectors are float32."""
        return self._reader.whole_rows(self.sources())

    def ledger_rows(self, vectors: VectorDtype) -> Iterator[Row]:
        """The ledger of such an index that keeps its vectors this way, in which nothing is under way."""
        self._writer.flush_buffer()
        return self._ledger.settled_rows(
            Settings(self.embedder, text_embedder=self.text_embedder, vector_dtype=vectors)
        )

    def load_rows(self, rows: Iterator[Row]) -> int:
        """Store rows that `stored_rows` gave; how many there were. They count once `load_ledger_rows` says so."""
        return self._writer.load(rows)

    def load_ledger_rows(self, rows: Iterable[Row]) -> None:
        """Declare what `ledger_rows` gave."""
        self._ledger.load(rows)

    @property
    def shadow_embedder(self) -> EmbedderInfo | None:
        """The embedder whose vectors are being put beside the present ones."""
        return self._succession.shadow_embedder

    def open_shadow(self, embedder: EmbedderInfo) -> MilvusIndex:
        """The successor of this index, for the vectors of another embedder, as far as it is filled.

        It is open for as long as this index is. StoreMismatchError if there is one of a third embedder.
        """
        collection = self._succession.prepare(embedder)
        index = self._opened(self._connection, self._succession, collection, embedder, self._index_type)
        index._check_rows(create=True)
        return index

    def switch(self, successor: MilvusIndex) -> MilvusIndex:
        """Become the successor, for all who will open this index, in one write.

        Returns what the index was, which `drop_previous` drops. Until then a kill leaves it to be dropped later.
        """
        self._writer.flush_buffer()
        successor.flush()
        self._succession.switch()
        retired = copy(self)
        vars(self).update(vars(successor))
        return retired

    def drop_previous(self) -> None:
        """Drop what the index was before the last switch, if it is still there."""
        self._succession.drop_previous()

    def drop_shadow(self) -> None:
        """Drop the successor, if there is one."""
        self._succession.drop_shadow()

    def _check_rows(self, create: bool) -> None:
        """A source that has lost rows counts as not indexed, so that the next run brings it back."""
        found = recount(self._connection, self._collection, self._ledger)
        if not found.damaged:
            return
        where = self._connection.address
        if not found.present and not create:
            raise StoreCorruptError(f"{where} has lost all its {found.expected} chunks; index its files again")
        self._incomplete = set(found.damaged)
        self._writer.mark_unverified(found.damaged)
        warnings.warn(
            f"{where} has {found.present} chunks where its ledger lists {found.expected}: "
            f"index the {len(found.damaged)} files again whose rows are missing or too many",
            RuntimeWarning,
            stacklevel=3,
        )


@contextmanager
def _connecting(address: Address, token: str | None, create: bool) -> Iterator[Connection]:
    """A connection, which is closed if what is done with it fails. What Milvus Lite cannot open is corrupt."""
    connection = Connection.open(address, token, create=create)
    try:
        yield connection
    except BaseException as error:
        connection.close()
        if connection.is_lite and type(error) is StoreError and "[Errno" not in str(error):
            raise StoreCorruptError(f"{error}; restore it from a copy, or delete it and index again") from error
        raise


def _check_name(collection: str) -> None:
    if not _NAME.fullmatch(collection):
        raise InputError(f"collection {collection!r} is no name; use letters, digits and underscores")
