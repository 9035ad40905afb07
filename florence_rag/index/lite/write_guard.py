"""Flushes at the moments at which Milvus Lite would otherwise lose rows or become slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from florence_rag.index.connection import Connection

FLUSH_ROWS = 1000  # rows that are not flushed cost Lite 60 ms per thousand in every search


class WriteGuard:
    """The durability of one collection of chunks and its ledger."""

    def __init__(self, connection: Connection, chunks: str, ledger: str) -> None:
        self._connection = connection
        self._chunks = chunks
        self._ledger = ledger
        self._unflushed_rows = 0
        self._in_doubt = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Flush before the writes inside it, if the writes before them failed or were interrupted.

        Such a write may have torn Lite's log. What is written after the tear is lost at the next start, unless a flush
        has succeeded in between.
        """
        if self._in_doubt:
            self.flush_all()
        self._in_doubt = True
        yield
        self._in_doubt = False

    def rows_written(self, count: int) -> None:
        """Count rows that were written to the chunks."""
        self._unflushed_rows += count

    def flush_rows_if_due(self) -> None:
        """Flush the chunks of Milvus Lite, if many rows are not flushed."""
        if self._connection.is_lite and self._unflushed_rows >= FLUSH_ROWS:
            self.flush_rows()

    def flush_rows(self) -> None:
        """Make the chunks durable."""
        self._connection.flush(self._chunks)
        self._unflushed_rows = 0

    def flush_all(self) -> None:
        """Make the chunks and then the ledger durable."""
        self.flush_rows()
        self._connection.flush(self._ledger)
