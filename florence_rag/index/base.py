"""What the stages above ask of an index, whatever stores it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from florence_rag.types import Chunk, EmbedderInfo, Failure, Hit, Kind, SkippedSource, Source

Filter = str | Mapping[str, Any]
"""A mapping such as {"kind": "clip", "start_s": {"$gte": 3}, "metadata.city": ["Rome", "Oslo"]}, or an expression
in the store's own language."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What is in an index, and what serves it.

    chunks: of complete sources, counted by kind. incomplete: sources that have lost rows, which the next index run
    brings back. server_version: of the store, such as "2.6.4" or "milvus_lite-3.2.2".
    text_embedder: the one whose vectors of the words it has besides, if any. vectors: how these are kept: fp32, fp16 or
    bf16. advice: what to do when the store is no longer the right one for so much. successor: the embedder whose
    vectors are being put beside the present ones, if any.
    """

    uri: str
    collection: str
    embedder: EmbedderInfo
    chunks: Mapping[Kind, int]
    sources: int
    failures: int
    index_type: str
    server_version: str
    incomplete: tuple[str, ...] = ()
    text_embedder: EmbedderInfo | None = None
    vector_dtype: str = "fp32"
    advice: str = ""
    shadow_embedder: EmbedderInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """What a model answered. place: where the picture is from, "" if that is not known. picture: digest of its pixels.

    sample: of what it looks like. key: equal for questions that ask the same. at: when, in ISO 8601.
    """

    id: str
    model: str
    place: str
    picture: str
    sample: str
    question: str
    key: str
    answer: str
    confidence: float | None
    candidates: tuple[tuple[str, float], ...]
    at: str


class AnswerStore(Protocol):
    """Keeps what models answered, with the vectors (2 D,) of question and picture together."""

    def get(self, id: str) -> CachedAnswer | None:
        """The answer with this id, if there is one."""
        ...

    def nearest(self, vector: np.ndarray, model: str, k: int) -> list[CachedAnswer]:
        """The k answers of a model to what is nearest, nearest first."""
        ...

    def put(self, answer: CachedAnswer, vector: np.ndarray) -> None:
        """Remember an answer, in place of an older one of its id."""
        ...

    def delete_outdated(self, place: str, picture: str) -> None:
        """Forget what was said of the pictures that were at a place before this one."""
        ...


@runtime_checkable
class ChunkIndex(Protocol):
    """Chunks with their vectors, and a ledger of the sources they come from.

    A source is written by `begin`, any number of `add`, and `complete`. Whatever happens in between, only a complete
    source counts as indexed; `begin` drops what an older version or an interrupted run left of it.
    """

    def sources(self) -> dict[str, Source]:
        """The complete sources by their uri, sorted."""
        ...

    def failures(self) -> tuple[Failure, ...]:
        """The sources that could not be indexed, sorted by uri."""
        ...

    def begin(self, source: Source) -> None:
        """Announce a source whose chunks follow; all older rows of its uri are dropped."""
        ...

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Store chunks of announced sources. vectors: (N, D) float32, unit length, one row per chunk.

        text_vectors: (N, T), likewise, of their words, and zeros where there are none; for an index that keeps these.
        """
        ...

    def complete(self, source: Source) -> None:
        """Declare that all chunks of the source were added."""
        ...

    def fail(self, uri: str, reason: str, source: Source | None = None) -> None:
        """Record why a source could not be indexed; its rows are dropped.

        source: as it was, if the reason lies in its bytes; then it is one of those `left_out`.
        """
        ...

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Record that another source, of the uri like, stands for this one; its rows are dropped."""
        ...

    def skipped(self) -> dict[str, SkippedSource]:
        """By uri, the sources that need not be looked at again before they change."""
        ...

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and times of sources whose bytes are the same."""
        ...

    def delete_sources(self, uris: Iterable[str]) -> int:
        """Forget sources and failures; how many rows went with them."""
        ...

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the metadata of chunks, by their ids; an unknown id is an InputError, and nothing is replaced."""
        ...

    def flush_buffer(self) -> None:
        """Send what has gathered, so that all who have the index open find it."""
        ...

    def flush(self) -> None:
        """Make everything so far durable and fast to search."""
        ...

    def search_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """The k chunks nearest to vector (D,), best first, ties by id. score: the cosine."""
        ...

    def search_text_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """The k chunks whose words are nearest to vector (T,), best first, ties by id. score: the cosine.

        InputError of an index that keeps no vectors of words.
        """
        ...

    def search_bm25(
        self, query: str, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """The k chunks whose words fit the query best, ties by id. score: BM25, above 0, larger is better."""
        ...

    def find(self, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None) -> Iterator[Hit]:
        """All chunks that fit, in no order, with score 0."""
        ...

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """The chunks of these ids, in this order, with score 0; unknown ids are left out."""
        ...

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, D): the vectors of these ids, in this order; an unknown id is an InputError."""
        ...

    def info(self) -> IndexInfo:
        """What is in the index."""
        ...

    def close(self) -> None:
        """Flush and let go of the store; nothing can be called afterwards."""
        ...


class ReembeddableIndex(ChunkIndex, Protocol):
    """An index that can be filled anew with the vectors of another embedder, beside the present ones, and then switch.

    Until then it serves as before; a kill at any point leaves it wholly as it was or wholly switched.
    """

    @property
    def embedder(self) -> EmbedderInfo:
        """Whose vectors are searched."""
        ...

    @property
    def text_embedder(self) -> EmbedderInfo | None:
        """Whose vectors of the words are searched besides, if the index keeps any; a successor keeps the same."""
        ...

    def text_vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, T): the vectors of the words of these ids, in this order, zeros where there are none."""
        ...

    def chunks_of(self, uris: Collection[str]) -> Iterator[Hit]:
        """All chunks of these sources, in no order, with score 0."""
        ...

    def open_shadow(self, embedder: EmbedderInfo) -> Self:
        """The successor of this index, as far as it is filled; never to be closed by itself."""
        ...

    def switch(self, successor: Self) -> Self:
        """Become the successor; returns what the index was."""
        ...

    def drop_previous(self) -> None:
        """Drop what the index was before the last switch, if it is still there."""
        ...

    def drop_shadow(self) -> None:
        """Drop the successor, if there is one."""
        ...
