"""Rows counted against the ledger: Milvus Lite leaves out what it cannot read without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from florence_rag.index.connection import Connection
from florence_rag.index.ledger import Entry, Ledger
from florence_rag.index.quoting import one_of
from florence_rag.index.rows import checked_uri
from florence_rag.index.text import decode_uri


@dataclass(frozen=True, slots=True)
class Recount:
    """present, expected: rows of complete sources. damaged: sources that have more or fewer rows than they must."""

    present: int
    expected: int
    damaged: frozenset[str] = frozenset()


def recount(connection: Connection, collection: str, ledger: Ledger) -> Recount:
    """Count all rows at once, which is fast, and by source only if that does not add up."""
    entries = list(ledger.entries())
    begun = [entry.uri for entry in entries if entry.state == "begun"]
    expected = sum(entry.rows for entry in entries if entry.state == "complete")
    present = connection.count(collection) - _rows_of(connection, collection, begun)
    if present == expected:
        return Recount(present, expected)
    return Recount(present, expected, _damaged(connection, collection, entries))


def _rows_of(connection: Connection, collection: str, uris: Sequence[str]) -> int:
    return connection.count(collection, one_of("source", map(checked_uri, uris))) if uris else 0


def _damaged(connection: Connection, collection: str, entries: list[Entry]) -> frozenset[str]:
    present = Counter(decode_uri(row["source"]) for row in connection.rows(collection, ["id", "source"]))
    expected = {entry.uri: entry.rows for entry in entries if entry.state == "complete"}
    begun = {entry.uri for entry in entries if entry.state == "begun"}
    all_uris = present.keys() | expected.keys()
    return frozenset(uri for uri in all_uris - begun if present[uri] != expected.get(uri, 0))
