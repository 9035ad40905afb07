"""Writes chunks and their ledger in an order that survives a kill at any point.

Of each source the ledger says "begun" before its first row is written, and "complete", with the number of rows, after
its last. Rows are buffered over many sources, because a write of one row costs ten times its share of a large write.
While rows come faster than they must be flushed, the ledger completes the sources of a buffer during the write of the
rows of the next.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from florence_rag.batching import batched
from florence_rag.errors import InputError
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.ledger import Entry, State
from florence_rag.index.lite.metadata import without_flat_metadata
from florence_rag.index.rows import (
    Row,
    checked_id,
    checked_metadata,
    checked_text_vectors,
    checked_uri,
    checked_vectors,
    chunk_to_row,
    text_fields,
)
from florence_rag.index.text_codec import decode_uri
from florence_rag.types import Chunk, Kind, Skipped, Source, item_uri

BUFFER_ROWS = 1000
BUFFER_S = 5.0
_ROWS_PER_FLUSH = 1000
_ITEM = item_uri("")


@dataclass
class _PendingSource:
    """A source that is not yet written completely.

    kinds: kinds of all its chunks, by id. rows: rows that are not yet written, by id. last: the entry that ends it.
    """

    source: Source | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    announced: bool = False
    last: Entry | None = None

    @property
    def awaits_row(self) -> bool:
        """Whether this is an item without its new row. Until it comes, the older row stays, whoever flushes."""
        return not self.rows and self.last is None and self.source is not None and self.source.uri.startswith(_ITEM)

    @property
    def is_item(self) -> bool:
        """Whether this is an item with its only row."""
        return self.source is not None and [item_uri(id) for id in self.rows] == [self.source.uri]


class MilvusWriter:
    """A `ChunkWriter` to the collection `chunks`; one thread writes at a time."""

    def __init__(self, chunks: ChunkCollection) -> None:
        self._lock = threading.RLock()
        self._bind(chunks)

    def _bind(self, chunks: ChunkCollection, incomplete: Iterable[str] = ()) -> None:
        """Write to this collection from now on, with an empty buffer."""
        self.chunks = chunks
        self._incomplete = set(incomplete)
        self._pending: dict[str, _PendingSource] = {}
        self._ended: dict[str, Entry] = {}  # whose rows are written, while the ledger still says "begun"
        self._buffered_rows = 0  # and sources without rows, which are rows of the ledger
        self._buffered_at = time.monotonic()
        self._unflushed_rows = 0

    def mark_incomplete(self, uris: Iterable[str]) -> None:
        """Count sources as incomplete, because their rows do not fit the ledger, until they are written again."""
        self._incomplete.update(uris)

    def begin(self, source: Source) -> None:
        """Announce a source whose chunks follow, as `ChunkWriter.begin` says."""
        checked_uri(source.uri)
        with self._lock:
            self._pending[source.uri] = _PendingSource(source)

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Store chunks of announced sources, as `ChunkWriter.add` says."""
        vectors = checked_vectors(vectors, len(chunks), self.chunks.embedder.dimension)
        checked_texts = checked_text_vectors(text_vectors, len(chunks), self.chunks.text_dimension)
        rows = [chunk_to_row(*each) for each in zip(chunks, vectors, checked_texts, strict=True)]
        for row in rows:
            checked_id(row["id"], self.chunks.max_id_bytes)
        with self._lock:
            for chunk, row in zip(chunks, rows, strict=True):
                pending = self._announced(chunk.source)
                pending.kinds[row["id"]] = chunk.kind
                pending.rows[row["id"]] = row
            self._buffered_rows += len(rows)
            self._write_if_due()

    def complete(self, source: Source, skipped: Sequence[Skipped] = ()) -> None:
        """Declare that all chunks of the source were added, as `ChunkWriter.complete` says."""
        with self._lock:
            pending = self._announced(source)
            kinds = Counter(pending.kinds.values())
            pending.last = Entry(source.uri, "partial" if skipped else "complete", source, kinds, skipped=skipped)
            self._buffered_rows += not kinds
            self._write_if_due()

    def discard(self, source: Source) -> None:
        """Give up an announced source, as `ChunkWriter.discard` says."""
        with self._lock:  # the next write drops its rows, and leaves the record that a kill leaves
            self._pending[source.uri] = _PendingSource(last=Entry(source.uri, "begun", source))

    def fail(self, uri: str, reason: str, source: Source | None = None) -> None:
        """Record why a source could not be indexed, as `ChunkWriter.fail` says."""
        self._replace(Entry(uri, "failed", source, reason=reason))

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Record that a source is a near-duplicate, as `ChunkWriter.mark_duplicate` says."""
        self._replace(Entry(source.uri, "near-duplicate", source, reason=duplicate_of))

    def put_skipped_files(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Record what folders hold that is not read, as `ChunkWriter.put_skipped_files` says."""
        with self._lock:
            self.chunks.check()
            self.chunks.ledger.put_skipped_files(counts)

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and modification times, as `ChunkWriter.update_stat` says."""
        with self._lock:
            self.flush_buffer()
            for some in batched(sources, _ROWS_PER_FLUSH):
                self.chunks.check()
                self.chunks.ledger.update_stat(some)

    def delete_sources(self, uris: Iterable[str]) -> int:
        """Delete sources and return the number of deleted rows, as `ChunkWriter.delete_sources` says."""
        deleted = sorted(set(uris))
        with self._lock:
            self.flush_buffer()
            self.chunks.check()
            self.chunks.ledger.put(Entry(uri, "begun") for uri in deleted)
            rows = self.chunks.drop_sources(deleted)
            self.chunks.ledger.drop(deleted)
            self._incomplete.difference_update(deleted)
        return rows

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the metadata of chunks, as `ChunkWriter.update_metadata` says."""
        with self._lock:
            self.flush_buffer()
            rows = self.chunks.whole_rows(list(metadata))
            updates = [checked_metadata(metadata[row["id"]], decode_uri(row["source"])) for row in rows]
            bases = map(without_flat_metadata, rows) if self.chunks.codec.flat else rows
            self.load_rows(row | {"metadata": update} for row, update in zip(bases, updates, strict=True))

    def update_texts(self, chunks: Sequence[Chunk], text_vectors: np.ndarray | None = None) -> None:
        """Replace the texts of stored chunks, as `ChunkWriter.update_texts` says."""
        checked_texts = checked_text_vectors(text_vectors, len(chunks), self.chunks.text_dimension)
        updates = {chunk.id: text_fields(chunk, each) for chunk, each in zip(chunks, checked_texts, strict=True)}
        with self._lock:
            self.flush_buffer()
            stored = self.chunks.rows(list(updates), ["id"])
            rows = [row | updates[row["id"]] for row in self.chunks.whole_rows(list(stored))]
            with self._checked():
                self.chunks.connection.upsert(self.chunks.name, map(self.chunks.codec.encode, rows))
            self._unflushed_rows += len(rows)
            self._flush_if_due()

    def update_skipped(self, skipped: Mapping[Source, Sequence[Skipped]]) -> None:
        """Record which parts of sources are not read, as `ChunkWriter.update_skipped` says."""
        with self._lock:
            self.flush_buffer()
            self.chunks.check()
            self.chunks.ledger.update_skipped(skipped)

    def load_rows(self, rows: Iterable[Row]) -> int:
        """Store whole rows, without entries in the ledger, and return their number."""
        total = 0
        with self._lock:
            for some in batched(rows, _ROWS_PER_FLUSH):
                with self._checked():
                    self.chunks.connection.upsert(self.chunks.name, map(self.chunks.codec.encode, some))
                if self.chunks.connection.profile.flush_rows is not None:  # a server would make a segment of each batch
                    self._flush_rows()
                total += len(some)
        return total

    def flush_buffer(self) -> None:
        """Write buffered rows to the store, as `ChunkWriter.flush_buffer` says."""
        with self._lock:
            self._write_rows()
            self._put_ended()
            self._buffered_at = time.monotonic()

    def _write_rows(self) -> None:
        """Write the buffered rows, and what the ledger must say before."""
        rows = [row for each in self._pending.values() for row in each.rows.values()]
        fresh = {uri: each for uri, each in self._pending.items() if not (each.announced or each.awaits_row)}
        if rows or fresh:
            with self._checked() as pool:
                announcing = pool.submit(self._announce, fresh)
                encoded = list(map(self.chunks.codec.encode, rows))  # while the server answers
                overwritten = announcing.result()
                if self.chunks.codec.flat:
                    self._overwrite_flat_metadata([row for row in encoded if row["id"] in overwritten])
                ending = pool.submit(self._put_ended)
                self.chunks.connection.upsert(self.chunks.name, encoded)
                ending.result()
        self._unflushed_rows += len(rows)
        self._ended |= {uri: each.last for uri, each in self._pending.items() if each.last}
        self._incomplete.difference_update(self._ended)  # -= of a view of keys would copy the set
        self._pending = {uri: each for uri, each in self._pending.items() if not each.last}
        for each in self._pending.values():
            each.rows.clear()
        self._buffered_rows = 0
        self._flush_if_due()

    def flush(self) -> None:
        """Write buffered rows and make everything durable, as `ChunkWriter.flush` says."""
        with self._lock:
            self.flush_buffer()
            self._flush_rows()
            self.chunks.ledger.flush()

    @contextmanager
    def _checked(self) -> Iterator[ThreadPoolExecutor]:
        """Check, while the block writes, that the collection still takes rows, which a server answers after 0.2 s.

        The block receives threads for other calls that it need not wait for at once.
        """
        with ThreadPoolExecutor(2) as pool:
            check = pool.submit(self.chunks.check)
            if self.chunks.connection.is_sole_writer:  # Milvus Lite answers at once
                check.result()
            try:
                yield pool
            finally:
                check.result()  # says more than an error of a collection that was dropped

    def _flush_if_due(self) -> None:
        flush_rows = self.chunks.connection.profile.flush_rows
        if flush_rows is not None and self._unflushed_rows >= flush_rows:
            self._flush_rows()

    def _flush_rows(self) -> None:
        self.chunks.connection.flush(self.chunks.name)
        self._unflushed_rows = 0

    def _announced(self, source: Source) -> _PendingSource:
        pending = self._pending.get(source.uri)
        if pending is None or pending.last or pending.source != source:
            raise InputError(f"{source.uri!r} has not begun; call begin with the same source before add and complete")
        return pending

    def _replace(self, entry: Entry) -> None:
        """Replace everything known of a source by this entry."""
        checked_uri(entry.uri)
        with self._lock:
            self._pending[entry.uri] = _PendingSource(last=entry)
            self._buffered_rows += 1
            self._write_if_due()

    def _write_if_due(self) -> None:
        if time.monotonic() - self._buffered_at > BUFFER_S:
            self.flush_buffer()
        elif self._buffered_rows >= BUFFER_ROWS:
            self._write_rows()

    def _announce(self, fresh: dict[str, _PendingSource]) -> set[str]:
        """Record in the ledger that the sources have begun, and drop their older rows.

        The row of a stored item is overwritten instead, in one write: a kill after the drop would lose it for good,
        because no file restores it. The ids of these rows are returned.
        """
        states: dict[str, State] = {
            **self.chunks.ledger.states(fresh),
            **{uri: self._ended[uri].state for uri in fresh.keys() & self._ended},
        }
        stale = (states.keys() | self._incomplete) & fresh.keys()
        complete = {uri for uri, state in states.items() if state == "complete"} - self._incomplete
        overwritten = {uri: each for uri, each in fresh.items() if uri in complete and each.is_item}
        begun = {uri: each for uri, each in fresh.items() if (each.rows or uri in stale) and uri not in overwritten}
        self.chunks.ledger.put(Entry(uri, "begun", each.source) for uri, each in begun.items())
        for uri in begun:
            self._ended.pop(uri, None)
        self.chunks.drop_sources(sorted(stale - overwritten.keys()))
        for each in (begun | overwritten).values():
            each.announced = True
        return {id for each in overwritten.values() for id in each.rows}

    def _put_ended(self) -> None:
        self.chunks.ledger.put(self._ended.values())
        self._ended = {}

    def _overwrite_flat_metadata(self, rows: list[Row]) -> None:
        """Add nulls to rows that will overwrite older ones, for the metadata that only those have."""
        older = self.chunks.rows([row["id"] for row in rows], ["id", "metadata"])
        for row in rows:
            row.update(without_flat_metadata(older.get(row["id"], {})) | row)
