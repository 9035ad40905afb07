"""Compares the rows of a collection with its ledger, because Milvus Lite silently skips what it cannot read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.ledger import Entry
from florence_rag.index.text_codec import decode_uri


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """The numbers of present and expected rows of complete sources, and the sources whose numbers differ."""

    present: int
    expected: int
    damaged: frozenset[str] = frozenset()


def check_integrity(chunks: ChunkCollection) -> IntegrityReport:
    """Count all rows at once, which is fast, and per source only if the total is wrong."""
    entries = {entry.uri: entry for entry in chunks.ledger.entries()}
    begun = [uri for uri, entry in entries.items() if entry.state == "begun"]
    expected = sum(entry.rows for entry in entries.values() if entry.state == "complete")
    present = chunks.connection.count(chunks.name) - chunks.count(begun)
    damaged = frozenset[str]() if present == expected else _damaged(chunks, entries)
    return IntegrityReport(present, expected, damaged)


def _damaged(chunks: ChunkCollection, before: Mapping[str, Entry]) -> frozenset[str]:
    """Return the sources whose rows do not fit their entry, except those that another machine writes meanwhile."""
    present = Counter(decode_uri(row["source"]) for row in chunks.connection.rows(chunks.name, ["id", "source"]))
    after = {entry.uri: entry for entry in chunks.ledger.entries()}
    steady = (uri for uri in present.keys() | before.keys() if before.get(uri) == after.get(uri))
    return frozenset(uri for uri in steady if not _fits(before.get(uri), present[uri]))


def _fits(entry: Entry | None, rows: int) -> bool:
    return entry is not None and (entry.state == "begun" or rows == entry.rows)
