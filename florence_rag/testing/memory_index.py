"""An index and an answer store in dictionaries, for tests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.index.base import CachedAnswer, Filter, IndexInfo
from florence_rag.index.filter_pushdown import check_filter, expression
from florence_rag.index.rows import (
    checked_metadata,
    checked_text_vectors,
    checked_vectors,
    chunk_to_row,
    row_to_hit,
    text_fields,
)
from florence_rag.index.text_codec import query_terms
from florence_rag.skip_counts import awaits_words, total_counts
from florence_rag.types import KINDS, Chunk, EmbedderInfo, Failure, Hit, Kind, RejectedSource, Skipped, Source


class MemoryIndex:
    """A `ChunkIndex` in a dictionary, with exact cosines and textbook BM25. It ends with the process.

    Filters must be mappings; expressions need Milvus.
    """

    def __init__(self, embedder: EmbedderInfo, text_embedder: EmbedderInfo | None = None) -> None:
        self.embedder = embedder
        self.text_embedder = text_embedder
        self._rows: dict[str, _Row] = {}
        self._sources: dict[str, Source] = {}
        self._failures: dict[str, Failure] = {}
        self._rejected: dict[str, RejectedSource] = {}
        self._skipped_parts: dict[str, Sequence[Skipped]] = {}
        self._skipped_files: dict[str, dict[str, int]] = {}
        self._begun: set[str] = set()
        self._answers = MemoryAnswerStore()

    def sources(self) -> dict[str, Source]:
        """Return the complete sources by uri."""
        return dict(sorted(self._sources.items()))

    def failures(self) -> tuple[Failure, ...]:
        """Return the sources that could not be indexed."""
        return tuple(self._failures[uri] for uri in sorted(self._failures))

    def begin(self, source: Source) -> None:
        """Drop the rows of the source and accept its chunks from now on."""
        self._drop(source.uri)
        self._begun.add(source.uri)

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Store chunks with their vectors; a chunk replaces one with the same id."""
        width = self.text_embedder.dimension if self.text_embedder else None
        vectors = checked_vectors(vectors, len(chunks), self.embedder.dimension)
        checked_texts = checked_text_vectors(text_vectors, len(chunks), width)
        if unannounced := {chunk.source.uri for chunk in chunks} - self._begun:
            raise InputError(f"chunks of sources that were not begun: {sorted(unannounced)}")
        for chunk, vector, text_vector in zip(chunks, vectors, checked_texts, strict=True):
            self._rows[chunk.id] = _Row(row_to_hit(chunk_to_row(chunk, vector)), vector, text_vector)

    def complete(self, source: Source, skipped: Sequence[Skipped] = ()) -> None:
        """Count the source as indexed from now on, except for the skipped parts."""
        self._begun.discard(source.uri)
        if skipped:
            self._skipped_parts[source.uri] = skipped
        self._sources[source.uri] = source
        self._failures.pop(source.uri, None)

    def discard(self, source: Source) -> None:
        """Drop the rows of the source."""
        self._drop(source.uri)

    def fail(self, uri: str, reason: str, source: Source | None = None) -> None:
        """Drop the rows of the source and record why it failed."""
        self._drop(uri)
        self._failures[uri] = Failure(uri, reason)
        if source:
            self._rejected[uri] = RejectedSource(source, reason)

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Drop the rows of the source and record which source is indexed in its place."""
        self._drop(source.uri)
        self._rejected[source.uri] = RejectedSource(source, duplicate_of=duplicate_of)

    def rejected(self) -> dict[str, RejectedSource]:
        """Return the sources that a run need not read again before they change, by uri."""
        return dict(sorted(self._rejected.items()))

    def skipped_parts(self) -> dict[str, Sequence[Skipped]]:
        """Return the parts that were not read of complete sources, by uri."""
        return dict(self._skipped_parts)

    def skipped_files(self) -> dict[str, dict[str, int]]:
        """Return the number of files that the last run over each folder skipped, by folder and by reason."""
        return dict(self._skipped_files)

    def put_skipped_files(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Record what folders hold that is not read."""
        updated = self._skipped_files | {folder: dict(by_reason) for folder, by_reason in counts.items()}
        self._skipped_files = {folder: by_reason for folder, by_reason in updated.items() if by_reason}

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and modification times."""
        for source in sources:
            if source.uri in self._sources:
                self._sources[source.uri] = source
            elif known := self._rejected.get(source.uri):
                self._rejected[source.uri] = replace(known, source=source)

    def update_texts(self, chunks: Sequence[Chunk], text_vectors: np.ndarray | None = None) -> None:
        """Replace the texts of stored chunks, and their text vectors."""
        width = self.text_embedder.dimension if self.text_embedder else None
        checked_texts = checked_text_vectors(text_vectors, len(chunks), width)
        for chunk, text_vector in zip(chunks, checked_texts, strict=True):
            if row := self._rows.get(chunk.id):
                fields = {name: text_fields(chunk)[name] for name in ("text", "caption", "ocr")}
                self._rows[chunk.id] = replace(row, hit=replace(row.hit, **fields), text_vector=text_vector)

    def update_skipped(self, skipped: Mapping[Source, Sequence[Skipped]]) -> None:
        """Replace the record of the parts that are not read of complete sources."""
        for source, parts in skipped.items():
            if source.uri in self._sources:
                self._skipped_parts = {**self._skipped_parts, source.uri: parts}
                if not parts:
                    del self._skipped_parts[source.uri]

    def delete_sources(self, uris: Iterable[str]) -> int:
        """Delete sources and return the number of deleted rows."""
        before = len(self._rows)
        for uri in uris:
            self._drop(uri)
        return before - len(self._rows)

    def answer_store(self) -> MemoryAnswerStore:
        """Return the store of cached answers about the index's images."""
        return self._answers

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the metadata of chunks, or raise InputError for an unknown id."""
        if unknown := [id_ for id_ in metadata if id_ not in self._rows]:
            raise unknown_chunk_error(unknown[0])
        for id_, values in metadata.items():
            row = self._rows[id_]
            self._rows[id_] = replace(row, hit=replace(row.hit, metadata=checked_metadata(values, row.hit.uri)))

    def flush_buffer(self) -> None:
        """Do nothing, because nothing is buffered."""

    def flush(self) -> None:
        """Do nothing, because nothing is durable."""

    def close(self) -> None:
        """Do nothing, because nothing is open."""

    def find(self, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None) -> Iterator[Hit]:
        """Iterate over all chunks that match, with score 0."""
        return iter([row.hit for row in self._matching(kinds, filter)])

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """Return the chunks with these ids, in this order, with score 0; unknown ids are skipped."""
        return [self._rows[id_].hit for id_ in ids if id_ in self._rows]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the vectors (N, D) in the order of ids, or raise InputError for an unknown id."""
        if unknown := [id_ for id_ in ids if id_ not in self._rows]:
            raise unknown_chunk_error(unknown[0])
        return np.array([self._rows[id_].vector for id_ in ids]).reshape(len(ids), self.embedder.dimension)

    @property
    def has_bm25(self) -> bool:
        """Whether words are searched: always."""
        return True

    def search_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with the largest cosine to a vector (D,)."""
        rows = self._matching(kinds, filter)
        return _best(k, ((float(row.vector @ vector), row.hit) for row in rows))

    def search_text_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with text whose text vector has the largest cosine to a vector (T,)."""
        if self.text_embedder is None:
            raise InputError("the index has no text vectors; create a new one with a text_embedder")
        rows = [(row.text_vector, row.hit) for row in self._matching(kinds, filter)]
        return _best(k, ((float(text @ vector), hit) for text, hit in rows if text is not None and text.any()))

    def search_bm25(
        self, query: str, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks whose content scores best by BM25 (Robertson and Zaragoza, 2009, k1 = 1.2, b = 0.75)."""
        every = {id_: Counter(query_terms(row.hit.content).split()) for id_, row in self._rows.items()}
        mean_length = sum(counts.total() for counts in every.values()) / max(1, len(every)) or 1.0
        idf = {}
        for word in set(query_terms(query).split()):
            containing = sum(word in counts for counts in every.values())
            idf[word] = math.log(1 + (len(every) - containing + 0.5) / (containing + 0.5))

        def score(counts: Counter[str]) -> float:
            norm = 1.2 * (0.25 + 0.75 * counts.total() / mean_length)
            return sum(weight * counts[word] * 2.2 / (counts[word] + norm) for word, weight in idf.items())

        scored = ((score(every[row.hit.id]), row.hit) for row in self._matching(kinds, filter))
        return _best(k, (pair for pair in scored if pair[0] > 0))

    def info(self) -> IndexInfo:
        """Return a summary of the contents."""
        counts = Counter(row.hit.kind for row in self._rows.values())
        return IndexInfo(
            uri=":memory:",
            collection="memory",
            embedder=self.embedder,
            chunks={kind: counts[kind] for kind in KINDS},
            sources=len(self._sources),
            failures=len(self._failures),
            index_type="EXACT",
            server_version="",
            text_embedder=self.text_embedder,
            skipped=total_counts(chain.from_iterable(self._skipped_parts.values()), self._skipped_files.values()),
            awaiting_words=sum(
                row.hit.kind != "text" and awaits_words(self._skipped_parts.get(row.hit.uri, ()))
                for row in self._rows.values()
            ),
        )

    def _drop(self, uri: str) -> None:
        self._rows = {id_: row for id_, row in self._rows.items() if row.hit.uri != uri}
        for records in (self._sources, self._failures, self._rejected, self._skipped_parts):
            records.pop(uri, None)
        self._begun.discard(uri)

    def _matching(self, kinds: Collection[Kind] | None, filter: Filter | None) -> list[_Row]:
        if isinstance(filter, str):
            raise InputError(f"MemoryIndex cannot evaluate {filter!r}: give a mapping, or use Milvus for expressions")
        conditions = check_filter(filter)
        expression(conditions, kinds)  # raises for kinds that Milvus would refuse
        rows = [row for row in self._rows.values() if kinds is None or row.hit.kind in kinds]
        return [row for row in rows if conditions is None or conditions.matches(row.hit)]


class MemoryAnswerStore:
    """An `AnswerStore` in a dictionary."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[CachedAnswer, np.ndarray]] = {}

    def get(self, id: str) -> CachedAnswer | None:
        """Return the answer with this id, or None."""
        return self._answers[id][0] if id in self._answers else None

    def nearest(self, vector: np.ndarray, model: str, k: int) -> list[CachedAnswer]:
        """Return the k answers of a model with the largest inner products, largest first."""
        near = [pair for pair in self._answers.values() if pair[0].model == model]
        return [answer for answer, _ in sorted(near, key=lambda pair: -float(pair[1] @ vector))[:k]]

    def put(self, answer: CachedAnswer, vector: np.ndarray) -> None:
        """Store an answer; it replaces one with the same id."""
        self._answers[answer.id] = (answer, vector)

    def delete_outdated(self, location: str, image_digest: str) -> None:
        """Delete the answers about other images that were at this location before."""
        self._answers = {
            id: (answer, vector)
            for id, (answer, vector) in self._answers.items()
            if answer.location != location or answer.image_digest == image_digest
        }

    def clear(self) -> int:
        """Delete all answers, and return their number."""
        count = len(self._answers)
        self._answers.clear()
        return count

    def count(self) -> int:
        """Return the number of answers."""
        return len(self._answers)


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    hit: Hit
    vector: np.ndarray
    text_vector: np.ndarray | None = None


def _best(k: int, scored: Iterable[tuple[float, Hit]]) -> list[Hit]:
    ranked = sorted(scored, key=lambda pair: (-pair[0], pair[1].id))[:k]
    return [replace(hit, score=score) for score, hit in ranked]
