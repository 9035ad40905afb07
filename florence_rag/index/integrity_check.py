"""Rows counted against the ledger: Milvus Lite leaves out what it cannot read without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from florence_rag.index.connection import Connection
from florence_rag.index.ledger import Entry, Ledger
from florence_rag.index.literals import one_of
from florence_rag.index.rows import checked_uri
from florence_rag.index.text_codec import decode_uri


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """present, expected: rows of complete sources. damaged: sources that have more or fewer rows than they must."""

    present: int
    expected: int
    damaged: frozenset[str] = frozenset()


def recount(connection: Connection, collection: str, ledger: Ledger) -> IntegrityReport:
    """Count all rows at once, which is fast, and by source only if that does not add up."""
    entries = {entry.uri: entry for entry in ledger.entries()}
    begun = [uri for uri, entry in entries.items() if entry.state == "begun"]
    expected = sum(entry.rows for entry in entries.values() if entry.state == "complete")
    present = connection.count(collection) - _rows_of(connection, collection, begun)
    if present == expected:
        return IntegrityReport(present, expected)
    return IntegrityReport(present, expected, _damaged(connection, collection, ledger, entries))


def _rows_of(connection: Connection, collection: str, uris: Sequence[str]) -> int:
    return connection.count(collection, one_of("source", map(checked_uri, uris))) if uris else 0


def _damaged(connection: Connection, collection: str, ledger: Ledger, before: Mapping[str, Entry]) -> frozenset[str]:
    """Sources whose rows do not fit their entry, but for those that another machine was writing meanwhile."""
    present = Counter(decode_uri(row["source"]) for row in connection.rows(collection, ["id", "source"]))
    after = {entry.uri: entry for entry in ledger.entries()}
    steady = (uri for uri in present.keys() | before.keys() if before.get(uri) == after.get(uri))
    return frozenset(uri for uri in steady if not _fits(before.get(uri), present[uri]))


def _fits(entry: Entry | None, rows: int) -> bool:
    return entry is not None and (entry.state == "begun" or rows == entry.rows)
