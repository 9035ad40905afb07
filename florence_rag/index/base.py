"""The protocols of an index, which the stages above it use, independent of the store."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from florence_rag.errors import InputError
from florence_rag.types import Chunk, EmbedderInfo, Failure, Hit, Kind, RejectedSource, Skipped, Source
from florence_rag.validation import validate_arguments

T = TypeVar("T")
Filter = str | Mapping[str, Any]
"""A mapping such as {"kind": "clip", "start_s": {"$gte": 3}, "city": ["Rome", "Oslo"]}, or an expression in the
store's own language."""


@validate_arguments
@dataclass(frozen=True, slots=True)
class IndexInfo:
    """The contents of an index and the store that serves it.

    Attributes:
        uri: address of the store, without credentials.
        collection: name of the index in the store.
        embedder: the embedder whose vectors are searched.
        chunks: number of chunks of complete sources, by kind.
        sources: number of complete sources.
        failures: number of sources that could not be indexed.
        index_type: index over the vectors, such as "HNSW".
        server_version: version of the store, such as "2.6.4" or "milvus_lite-3.2.2".
        incomplete: sources that have lost rows; the next index run restores them.
        text_embedder: the embedder of the text vectors, if the index keeps any.
        vector_dtype: precision of the stored vectors: "fp32", "fp16" or "bf16".
        advice: what to do when the store is too small for the number of chunks, or "".
        shadow_embedder: the embedder whose vectors fill the shadow collection, if there is one.
        skipped: number of files and parts that the last runs over the folders did not read, by reason.
        awaiting_words: number of images, pages and clips whose OCR text or captions are still to be read.
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
    skipped: Mapping[str, int] = field(default_factory=dict)
    awaiting_words: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer of a visual question answering model, and what identifies its image and question.

    Attributes:
        id: A digest of the model, the image and the normalized question.
        model: The name of the model that answered.
        location: The location of the image; "" if it is unknown.
        image_digest: A digest of the pixels of the image.
        image_sample: A small copy of the image, for comparison with similar images.
        question: The question as the caller wrote it.
        normalized_question: A text that is equal for questions with the same meaning.
        answer: The answer.
        confidence: Its probability in [0, 1]; None if the model gives none.
        candidates: Other answers with their confidence, best first.
        created_at: The time of the answer, in ISO 8601.
    """

    id: str
    model: str
    location: str
    image_digest: str
    image_sample: str
    question: str
    normalized_question: str
    answer: str
    confidence: float | None
    candidates: tuple[tuple[str, float], ...]
    created_at: str


class AnswerStore(Protocol):
    """A store of answers, with a vector (2 D,) for each pair of question and image."""

    def get(self, id: str) -> CachedAnswer | None:
        """Return the answer with this id, or None."""
        ...

    def nearest(self, vector: np.ndarray, model: str, k: int) -> list[CachedAnswer]:
        """Return the k answers of a model whose vectors are nearest to vector (2 D,), nearest first."""
        ...

    def put(self, answer: CachedAnswer, vector: np.ndarray) -> None:
        """Store an answer with its vector (2 D,); it replaces an answer with the same id."""
        ...

    def delete_outdated(self, location: str, image_digest: str) -> None:
        """Delete the answers about other images that were at this location before the image with this digest."""
        ...

    def clear(self) -> int:
        """Delete all answers, and return their number."""
        ...


@runtime_checkable
class HasAnswerStore(Protocol):
    """An index that also stores answers about its images."""

    def answer_store(self) -> AnswerStore:
        """Return the store of cached answers about the index's images, which is created if necessary."""
        ...


@runtime_checkable
class HasCalibrations(Protocol):
    """An index that also stores how the cosines of its embedder relate to relevance, for each kind of chunk."""

    def calibrations(self) -> Mapping[Kind, Mapping[str, float]]:
        """Return the finite parameters of each kind that was calibrated, by name."""
        ...

    def put_calibrations(self, calibrations: Mapping[Kind, Mapping[str, float]]) -> None:
        """Replace all calibrations."""
        ...


class ChunkReader(Protocol):
    """Search and read access to chunks. Every call sees all writes before it.

    All searches take the same restrictions: `kinds` limits the hits to some kinds of chunks, and None allows all;
    `filter` is a restriction on fields and metadata. `k` is the largest number of hits, 1 or more. Hits come best
    first; ties are broken by id. Calls raise InputError for an argument that is not valid.
    """

    @property
    def has_bm25(self) -> bool:
        """Whether the store can search words; if not, `search_bm25` finds nothing."""
        ...

    def search_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with the largest cosine to a vector (D,), which is finite and of unit length.

        The score of a hit is the cosine in [-1, 1].
        """
        ...

    def search_text_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with text whose text vector has the largest cosine to a vector (T,) of unit length.

        Raises:
            InputError: if an argument is not valid, or if the index has no text vectors.
        """
        ...

    def search_bm25(
        self, query: str, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks whose caption, text and OCR text match the terms of a query best, by BM25 above 0."""
        ...

    def find(self, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None) -> Iterator[Hit]:
        """Iterate over all chunks that match the restrictions, in no order, with score 0."""
        ...

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """Return the chunks with these ids, in this order, with score 0. Unknown ids are skipped."""
        ...

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the vectors (N, D) float32 of the chunks with these ids, one row per id.

        Raises:
            InputError: if an id is unknown.
        """
        ...


def with_vectors(index: ChunkReader, hits: Sequence[Hit]) -> tuple[list[Hit], np.ndarray]:
    """Return hits and their vectors (N, D), without the hits that another thread or client has deleted meanwhile."""
    return for_present(index, hits, index.vectors)


def for_present(index: ChunkReader, hits: Sequence[Hit], call: Callable[[list[str]], T]) -> tuple[list[Hit], T]:
    """Call a function with the ids of hits, and return the hits and its result.

    If it raises InputError because another thread or client has deleted some of the hits meanwhile, it is called again
    without them.
    """
    kept = list(hits)
    while True:
        ids = [hit.id for hit in kept]
        try:
            return kept, call(ids)
        except InputError:
            known = {hit.id for hit in index.get(ids)}
            if known.issuperset(ids):
                raise
            kept = [hit for hit in kept if hit.id in known]


class ChunkWriter(Protocol):
    """Write access to chunks, source by source.

    A source is written by `begin`, any number of `add`, and `complete`. Whatever happens in between, only a complete
    source counts as indexed; `begin` drops what an older version or an interrupted run left of it.

    Writes are buffered. Reads through the same index see them at once. `flush_buffer` makes them visible to every
    other process that has the index open, and `flush` also makes them durable: end each run with it.
    """

    def begin(self, source: Source) -> None:
        """Announce a source whose chunks follow. All older rows of its uri are dropped.

        Raises:
            InputError: if the uri is empty or too long.
        """
        ...

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Store chunks of announced sources.

        Args:
            chunks: N chunks. A chunk replaces an earlier one with the same id.
            vectors: (N, D) float32 of unit length, one row per chunk.
            text_vectors: (N, T) float32 of unit length, or zeros for chunks without text. Required by an index that
                has text vectors, and refused by any other.

        Raises:
            InputError: if the vectors do not fit, or if a source was not announced.
        """
        ...

    def complete(self, source: Source, skipped: Sequence[Skipped] = ()) -> None:
        """Declare that all chunks of the source were added.

        Args:
            source: the source.
            skipped: the parts of it that are not read.

        Raises:
            InputError: if this source was not announced.
        """
        ...

    def discard(self, source: Source) -> None:
        """Give up an announced source. Its rows are dropped, and it is not indexed.

        The store is not called before the next read or write, so this works while a server is away.
        """
        ...

    def fail(self, uri: str, reason: str, source: Source | None = None) -> None:
        """Record why a source could not be indexed. Its rows are dropped.

        Args:
            uri: uri of the source.
            reason: one line.
            source: the state of the source, if the failure is permanent until the source changes; it is then one of
                `ChunkIndex.rejected`.
        """
        ...

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Record that a source is a near-duplicate of the indexed source `duplicate_of`. Its rows are dropped."""
        ...

    def put_skipped_files(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Record the number of files that folders hold and that are not read, by folder and by reason.

        The counts replace earlier ones of the same folders; empty ones delete them.
        """
        ...

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record the present sizes and modification times of sources whose content is unchanged."""
        ...

    def delete_sources(self, uris: Iterable[str]) -> int:
        """Delete sources, with their rows and failures, and return the number of deleted rows.

        Unknown uris are skipped.
        """
        ...

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the metadata of chunks by those that `metadata` holds for their ids.

        Raises:
            InputError: if an id is unknown or a value cannot be stored. Nothing is replaced then.
        """
        ...

    def update_texts(self, chunks: Sequence[Chunk], text_vectors: np.ndarray | None = None) -> None:
        """Replace the text, caption and OCR text of stored chunks, and their text vectors; all else stays.

        Chunks that are not stored are left out, because somebody may have deleted them. Arguments as for `add`.
        """
        ...

    def update_skipped(self, skipped: Mapping[Source, Sequence[Skipped]]) -> None:
        """Replace the record of the parts that are not read of complete sources, unless their content has changed."""
        ...

    def flush_buffer(self) -> None:
        """Write buffered rows to the store, so that every process that has the index open can find them."""
        ...

    def flush(self) -> None:
        """Write buffered rows and make everything so far durable and fast to search."""
        ...


@runtime_checkable
class ChunkIndex(ChunkReader, ChunkWriter, Protocol):
    """An index of chunks with their vectors, and a ledger of the sources that they come from."""

    def sources(self) -> dict[str, Source]:
        """Return the complete sources by uri, sorted."""
        ...

    def failures(self) -> tuple[Failure, ...]:
        """Return the sources that could not be indexed, sorted by uri."""
        ...

    def rejected(self) -> dict[str, RejectedSource]:
        """Return the sources that a run need not read again before they change, by uri."""
        ...

    def skipped_parts(self) -> dict[str, Sequence[Skipped]]:
        """Return the parts that were not read of complete sources, by uri."""
        ...

    def skipped_files(self) -> dict[str, dict[str, int]]:
        """Return the number of files that the last run over each folder skipped, by folder and by reason."""
        ...

    def info(self) -> IndexInfo:
        """Return a summary of the contents and the store."""
        ...

    def close(self) -> None:
        """Flush and release the store. No other call is allowed afterwards."""
        ...


class ReembeddableIndex(ChunkIndex, Protocol):
    """An index that can fill a shadow collection with the vectors of another embedder, and then switch to it.

    Until the switch the index serves as before. A kill at any point leaves either the old or the new vectors whole.
    """

    @property
    def embedder(self) -> EmbedderInfo:
        """The embedder whose vectors are searched."""
        ...

    @property
    def text_embedder(self) -> EmbedderInfo | None:
        """The embedder of the text vectors, if the index keeps any. A shadow keeps the same."""
        ...

    def text_vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the text vectors (N, T) float32 of the chunks with these ids, zeros for chunks without text.

        Raises:
            InputError: if an id is unknown, or if the index has no text vectors.
        """
        ...

    def chunks_of(self, uris: Collection[str]) -> Iterator[Hit]:
        """Iterate over all chunks of these sources, in no order, with score 0."""
        ...

    def open_shadow(self, embedder: EmbedderInfo) -> Self:
        """Open the shadow of this index for another embedder, with everything that an earlier run wrote to it.

        The shadow is created if necessary. It is open as long as this index is; do not close it.

        Raises:
            InputError: if the index already has the vectors of this embedder.
            StoreMismatchError: if there is a shadow for a third embedder.
        """
        ...

    def switch(self, shadow: Self) -> Self:
        """Replace the searched vectors by those of the shadow that `open_shadow` returned, in one write.

        Returns:
            The previous state of this index, which `drop_previous` deletes.
        """
        ...

    def drop_previous(self) -> None:
        """Delete the collection that was searched before the last switch, if it still exists."""
        ...

    def drop_shadow(self) -> None:
        """Delete the shadow, if there is one."""
        ...
