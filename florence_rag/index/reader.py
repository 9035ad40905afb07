"""Searches and reads a collection of chunks in Milvus."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from florence_rag.errors import InputError
from florence_rag.index.base import Filter
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.filters import expression, starts_with
from florence_rag.index.index_types import find_index_type
from florence_rag.index.lite.metadata import check_names
from florence_rag.index.rows import HIT_FIELDS, checked_vectors, row_to_hit
from florence_rag.index.schema import MAX_LIMIT
from florence_rag.index.text_codec import query_terms
from florence_rag.types import KINDS, Hit, Kind, item_uri

_SPARE_HITS = (1, 16, 256)  # extra hits, so that ties at rank k are broken by id; more only if these are equal, too
_HAS_TEXT = "has_text_vector == true"


class MilvusReader(ABC):
    """A `ChunkReader` over the collection `chunks`."""

    chunks: ChunkCollection

    @abstractmethod
    def flush_buffer(self) -> None:
        """Write buffered rows to the store, so that a read finds them."""

    def search_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with the largest cosine to a vector (D,), as `ChunkReader.search_vector` says."""
        encoded = self._encode(vector, self.chunks.embedder.dimension)
        return self._search("vector", encoded, k, self._restriction(filter, kinds), filter)

    def search_text_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with the largest cosine to a text vector, as `ChunkReader.search_text_vector` says."""
        encoded = self._encode(vector, self.chunks.require_text_dimension())
        restriction = self._restriction(filter, kinds)
        restriction = f"({restriction}) and {_HAS_TEXT}" if restriction else _HAS_TEXT
        return self._search("text_vector", encoded, k, restriction, filter)

    def search_bm25(
        self, query: str, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks that match the terms of a query best, as `ChunkReader.search_bm25` says.

        Milvus Lite computes how rare a term is among the rows that were flushed together.
        """
        return self._search("bm25", query_terms(query), k, self._restriction(filter, kinds), filter)

    def find(self, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None) -> Iterator[Hit]:
        """Iterate over all chunks that match the restrictions, as `ChunkReader.find` says."""
        restriction = self._restriction(filter, kinds)
        self.flush_buffer()
        rows = self.chunks.connection.rows(self.chunks.name, HIT_FIELDS, restriction, user_filter=filter)
        return map(row_to_hit, rows)

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """Return the chunks with these ids, as `ChunkReader.get` says."""
        self.flush_buffer()
        rows = self.chunks.rows(ids, HIT_FIELDS)
        return [row_to_hit(rows[id]) for id in ids if id in rows]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the vectors (N, D) of the chunks with these ids, as `ChunkReader.vectors` says."""
        self.flush_buffer()
        decode = self.chunks.codec.decode_vector
        vectors = [decode(row["vector"]) for row in self.chunks.known_rows(ids, ["id", "vector"])]
        return np.array(vectors, dtype=np.float32).reshape(len(ids), self.chunks.embedder.dimension)

    def text_vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the text vectors (N, T) of the chunks with these ids, as `ReembeddableIndex.text_vectors` says."""
        self.flush_buffer()
        width, decode = self.chunks.require_text_dimension(), self.chunks.codec.decode_vector
        rows = self.chunks.known_rows(ids, ["id", "has_text_vector", "text_vector"])
        vectors = [decode(row["text_vector"]) if row["has_text_vector"] else np.zeros(width) for row in rows]
        return np.array(vectors, dtype=np.float32).reshape(len(ids), width)

    def chunks_of(self, uris: Collection[str]) -> Iterator[Hit]:
        """Iterate over all chunks of these sources, as `ReembeddableIndex.chunks_of` says."""
        self.flush_buffer()
        return map(row_to_hit, self.chunks.rows_of_sources(uris, HIT_FIELDS))

    def _encode(self, vector: np.ndarray, dimension: int) -> list[float] | np.ndarray:
        return self.chunks.codec.encode_query(checked_vectors(np.asarray(vector)[None], 1, dimension)[0])

    def _search(
        self, field: str, query: str | list[float] | np.ndarray, k: int, restriction: str, user_filter: Filter | None
    ) -> list[Hit]:
        by_terms, index_type, connection = field == "bm25", self.chunks.index_type, self.chunks.connection
        max_hits = MAX_LIMIT if by_terms else find_index_type(index_type).max_hits
        if not 1 <= k <= max_hits:
            raise InputError(f"k is {k!r}; allowed are 1 to {max_hits}")
        if isinstance(query, str) and not query:  # a server rejects an empty query; Lite finds nothing for it
            return []
        self.flush_buffer()
        hits: list[Hit] = []
        for spare in _SPARE_HITS[by_terms:]:  # equal scores are more frequent among terms than among vectors
            limit, filtered = min(k + spare, max_hits), bool(restriction)
            found = connection.search(
                self.chunks.name,
                field,
                query,
                limit=limit,
                expression=restriction,
                metric="BM25" if by_terms else "IP",
                params={} if by_terms else connection.profile.search_params(index_type, limit, filtered=filtered),
                fields=HIT_FIELDS,
                user_filter=user_filter,
            )
            # Lite's BM25 is negative. The last digits depend on which rows were computed together.
            hits = [row_to_hit(row, round(abs(score) if by_terms else score, 6)) for row, score in found]
            hits.sort(key=lambda hit: (-hit.score, hit.id))
            if len(hits) < k + spare or hits[-1].score != hits[k - 1].score:
                break
        return hits[:k]

    def _restriction(self, filter: Filter | None, kinds: Collection[Kind] | None) -> str:
        """Combine the filter and the kinds into one Milvus expression."""
        flat = self.chunks.codec.flat
        if flat and isinstance(filter, str):
            check_names(filter)
        if not isinstance(kinds, str | None) and set(kinds) == set(KINDS):
            kinds = None  # the store would check it for every row
        # Lite reads the source that items name in 40 ms per thousand rows, or 2 ms if the metadata are flat. The
        # expression asks for it only if there are items.
        match_item_source = True
        if self.chunks.connection.profile.flat_metadata and isinstance(filter, Mapping) and "source" in filter:
            self.flush_buffer()
            items = self.chunks.connection.count(self.chunks.name, starts_with("source", item_uri("")))
            match_item_source = items > 0
        return expression(filter, kinds, match_item_source=match_item_source, flat=flat)
