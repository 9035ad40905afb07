"""Compares the rows of a collection with its ledger, because Milvus Lite silently skips data that it cannot read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from florence_rag.index.chunk_collection import ChunkCollection
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
    if present == expected:
        return IntegrityReport(present, expected)
    rows = Counter(decode_uri(row["source"]) for row in chunks.connection.rows(chunks.name, ["id", "source"]))
    later = {entry.uri: entry for entry in chunks.ledger.entries()}
    damaged = set()
    for uri in rows.keys() | entries.keys():
        entry = entries.get(uri)
        fits = entry is not None and (entry.state == "begun" or rows[uri] == entry.rows)
        if not fits and entry == later.get(uri):  # otherwise another machine is writing the source
            damaged.add(uri)
    return IntegrityReport(present, expected, frozenset(damaged))
