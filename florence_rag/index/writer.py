"""Writing in an order that survives a kill at any point.

Of each source the ledger says "begun" before its first row is written, and "complete", with the number of rows, after
its last. Rows are gathered over many sources, as a write of one row costs ten times its share in a write of a hundred.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from florence_rag.errors import InputError
from florence_rag.index.connection import Connection, batched, in_batches
from florence_rag.index.ledger import Entry, Ledger
from florence_rag.index.literals import one_of
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import Row, checked_text_vectors, checked_uri, checked_vectors, chunk_to_row
from florence_rag.types import Chunk, Kind, Source

_GATHER_ROWS = 128
_GATHER_S = 5.0
_ROWS_PER_CALL = 500  # of at most 260 kB each
_FLUSH_ROWS = 1000  # rows not flushed cost Lite 60 ms per thousand in every search
_URIS_PER_CALL = 200


@dataclass
class _Pending:
    """A source on its way. kinds: of all its chunks, by id. rows: not yet written. last: the entry that ends it."""

    source: Source | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    announced: bool = False
    last: Entry | None = None


class Writer:
    """All that is written to an index, one thread at a time. check: called before every write, to forbid it.

    form: how the collection keeps rows.
    """

    def __init__(
        self,
        connection: Connection,
        collection: str,
        ledger: Ledger,
        dimension: int,
        check: Callable[[], None] = lambda: None,
        text_dimension: int | None = None,
        form: RowCodec | None = None,
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._ledger = ledger
        self._dimension = dimension
        self._text_dimension = text_dimension
        self._check = check
        self._form = form or RowCodec()
        self._lock = threading.RLock()
        self._pending: dict[str, _Pending] = {}
        self._suspects: set[str] = set()
        self._gathered_at = time.monotonic()
        self._unflushed = 0
        self._in_doubt = False

    def mark_unverified(self, uris: Iterable[str]) -> None:
        """Of these uris there may be rows that the ledger does not know."""
        self._suspects.update(uris)

    def begin(self, source: Source) -> None:
        """Start a source afresh."""
        checked_uri(source.uri)
        with self._lock:
            self._pending[source.uri] = _Pending(source)

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Take chunks of sources that have begun."""
        vectors = checked_vectors(vectors, len(chunks), self._dimension)
        of_words = checked_text_vectors(text_vectors, len(chunks), self._text_dimension)
        rows = [chunk_to_row(*each) for each in zip(chunks, vectors, of_words, strict=True)]
        with self._lock:
            for chunk, row in zip(chunks, rows, strict=True):
                pending = self._open(chunk.source)
                pending.kinds[row["id"]] = chunk.kind
                pending.rows[row["id"]] = row
            self._write_if_due()

    def complete(self, source: Source) -> None:
        """End a source; with the next write it counts as indexed."""
        with self._lock:
            pending = self._open(source)
            pending.last = Entry(source.uri, "complete", source, Counter(pending.kinds.values()))
            self._write_if_due()

    def fail(self, uri: str, reason: str, source: Source | None = None) -> None:
        """Replace whatever there is of the source by the reason why there is nothing."""
        self._replace(Entry(uri, "failed", source, reason=reason))

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Replace whatever there is of the source by the source that stands for it."""
        self._replace(Entry(source.uri, "near-duplicate", source, reason=duplicate_of))

    def _replace(self, entry: Entry) -> None:
        checked_uri(entry.uri)
        with self._lock:
            self._pending[entry.uri] = _Pending(last=entry)
            self._write_if_due()

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and times of sources whose bytes are the same."""
        with self._lock:
            self.flush_buffer()
            for start in range(0, len(sources), _ROWS_PER_CALL):
                with self._writing():
                    self._ledger.update_stat(list(sources)[start : start + _ROWS_PER_CALL])

    def delete(self, uris: Iterable[str]) -> int:
        """Forget sources; how many rows went with them."""
        gone = sorted(set(uris))
        with self._lock:
            self.flush_buffer()
            with self._writing():
                self._ledger.put(Entry(uri, "begun") for uri in gone)
                rows = self._drop_rows(gone)
                self._ledger.drop(gone)
        return rows

    def load(self, rows: Iterable[Row]) -> int:
        """Store rows as they are, of sources that the ledger will name; how many there were."""
        total = 0
        with self._lock:
            for some in batched(rows, _FLUSH_ROWS):
                with self._writing():
                    self._write_rows(some)
                self._flush_chunks()
                total += len(some)
        return total

    def flush_buffer(self) -> None:
        """Send what has gathered."""
        with self._lock:
            if not self._pending:
                return
            with self._writing():
                self._announce({uri: each for uri, each in self._pending.items() if not each.announced})
                self._write_rows([row for each in self._pending.values() for row in each.rows.values()])
                self._ledger.put(each.last for each in self._pending.values() if each.last)
            self._pending = {uri: each for uri, each in self._pending.items() if not each.last}
            for each in self._pending.values():
                each.rows.clear()
            self._gathered_at = time.monotonic()
            if self._connection.is_lite and self._unflushed >= _FLUSH_ROWS:
                self._flush_chunks()

    def flush(self) -> None:
        """Send what has gathered, and make all durable."""
        with self._lock:
            self.flush_buffer()
            self._flush_chunks()
            self._ledger.flush()

    def _open(self, source: Source) -> _Pending:
        pending = self._pending.get(source.uri)
        if pending is None or pending.last or pending.source != source:
            raise InputError(f"{source.uri!r} has not begun; call begin with this very source before add and complete")
        return pending

    def _write_if_due(self) -> None:
        rows = sum(len(each.rows) for each in self._pending.values())
        ended = sum(each.last is not None for each in self._pending.values())
        if rows + ended >= _GATHER_ROWS or time.monotonic() - self._gathered_at > _GATHER_S:
            self.flush_buffer()

    def _announce(self, fresh: dict[str, _Pending]) -> None:
        """Say in the ledger that the sources have begun, and drop what there is of them."""
        stale = self._ledger.known(fresh) | (self._suspects & fresh.keys())
        self._ledger.put(Entry(uri, "begun", each.source) for uri, each in fresh.items())
        self._drop_rows(sorted(stale))
        self._suspects -= stale
        for each in fresh.values():
            each.announced = True

    def _drop_rows(self, uris: Sequence[str]) -> int:
        rows = 0
        for some in in_batches([checked_uri(uri) for uri in uris], _URIS_PER_CALL):
            present = self._connection.count(self._collection, one_of("source", some))
            if present:
                self._connection.delete(self._collection, one_of("source", some))
            rows += present
        return rows

    def _write_rows(self, rows: list[Row]) -> None:
        for start in range(0, len(rows), _ROWS_PER_CALL):
            some = rows[start : start + _ROWS_PER_CALL]
            self._connection.upsert(self._collection, [self._form.encode(row) for row in some])
        self._unflushed += len(rows)

    def _flush_chunks(self) -> None:
        self._connection.flush(self._collection)
        self._unflushed = 0

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A write that failed or was interrupted may have torn Lite's log: what is written after the tear is lost at
        the next start, unless a flush has succeeded in between."""
        self._check()
        if self._in_doubt:
            self._flush_chunks()
            self._ledger.flush()
        self._in_doubt = True
        yield
        self._in_doubt = False
