"""Searches and reads a collection of chunks in Milvus."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

import numpy as np

from florence_rag.batching import batched
from florence_rag.errors import InputError, StoreError
from florence_rag.index.base import Filter
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.filter_pushdown import IS_ITEM, check_filter, expression
from florence_rag.index.filters import Node, names_field
from florence_rag.index.index_types import Params, find_index_type
from florence_rag.index.lite.metadata import check_names, names_in
from florence_rag.index.literals import all_of
from florence_rag.index.rows import HIT_FIELDS, Row, checked_query
from florence_rag.index.schema import MAX_LIMIT
from florence_rag.index.text_codec import query_terms
from florence_rag.types import KINDS, Hit, Kind

_SPARE_HITS = (1, 16, 256)  # extra hits, so that ties at rank k are broken by id; more only if these are equal, too
_MORE_SPARE_HITS = (4_096, MAX_LIMIT)  # if a filter drops hits that the store could not
_IDS_PER_SEARCH = 1_000
_HAS_TEXT = "has_text_vector == true"


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a call is restricted to.

    Attributes:
        expression: A Milvus expression; "" for no restriction.
        user_filter: The filter as the caller wrote it, for error messages.
        conditions: The conditions of a filter that is a mapping; the expression may let other rows pass.
    """

    expression: str
    user_filter: Filter | None
    conditions: Node | None

    def matching(self, hits: Iterator[Hit]) -> Iterator[Hit]:
        """Yield those hits that match."""
        return hits if self.conditions is None else filter(self.conditions.matches, hits)


class MilvusReader(ABC):
    """A `ChunkReader` over the collection `chunks`."""

    chunks: ChunkCollection

    @abstractmethod
    def flush_buffer(self) -> None:
        """Write buffered rows to the store, so that a read finds them."""

    @property
    def has_bm25(self) -> bool:
        """Whether words are searched, as `ChunkReader.has_bm25` says."""
        return self.chunks.has_bm25

    def search_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with the largest cosine to a vector (D,), as `ChunkReader.search_vector` says."""
        encoded = self._encode(vector, self.chunks.embedder.dimension)
        return self._search("vector", encoded, k, self._scope(filter, kinds))

    def search_text_vector(
        self, vector: np.ndarray, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks with the largest cosine to a text vector, as `ChunkReader.search_text_vector` says."""
        encoded = self._encode(vector, self.chunks.require_text_dimension())
        scope = self._scope(filter, kinds)
        return self._search("text_vector", encoded, k, replace(scope, expression=all_of([scope.expression, _HAS_TEXT])))

    def search_bm25(
        self, query: str, k: int, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the k chunks that match the terms of a query best, as `ChunkReader.search_bm25` says."""
        return self._search("bm25", query_terms(query), k, self._scope(filter, kinds))

    def find(self, *, kinds: Collection[Kind] | None = None, filter: Filter | None = None) -> Iterator[Hit]:
        """Iterate over all chunks that match the restrictions, as `ChunkReader.find` says."""
        scope = self._scope(filter, kinds)
        self.flush_buffer()
        return self._find(scope)

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """Return the chunks with these ids, as `ChunkReader.get` says."""
        self.flush_buffer()
        rows = self.chunks.rows(ids, HIT_FIELDS)
        return [self.chunks.to_hit(rows[id]) for id in ids if id in rows]

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
        return map(self.chunks.to_hit, self.chunks.rows_of_sources(uris, HIT_FIELDS))

    def _encode(self, vector: np.ndarray, dimension: int) -> np.ndarray:
        return self.chunks.codec.to_dtype(checked_query(vector, dimension))

    def _find(self, scope: _Scope) -> Iterator[Hit]:
        connection, name = self.chunks.connection, self.chunks.name
        rows = connection.rows(name, HIT_FIELDS, scope.expression, user_filter=scope.user_filter)
        return scope.matching(map(self.chunks.to_hit, rows))

    def _search(self, field: str, query: str | np.ndarray, k: int, scope: _Scope) -> list[Hit]:
        by_terms = field == "bm25"
        max_hits = MAX_LIMIT if by_terms else find_index_type(self.chunks.index_type).max_hits
        if not 1 <= k <= max_hits:
            raise InputError(f"k is {k!r}; allowed are 1 to {max_hits}")
        # A server rejects an empty query; Lite finds nothing for it.
        if by_terms and not (query and self.has_bm25):
            return []
        self.flush_buffer()
        for spare in (*_SPARE_HITS[by_terms:], *_MORE_SPARE_HITS):  # terms have equal scores more often than vectors
            limit = min(k + spare, max_hits)
            rows = self._rows(field, query, limit, scope)
            hits = sorted(scope.matching(starmap(self.chunks.to_hit, rows)), key=_rank)
            if len(rows) < limit:
                return hits[:k]
            if len(hits) >= k and (spare >= _SPARE_HITS[-1] or rows[-1][1] != hits[k - 1].score):
                return hits[:k]
            if limit == max_hits:
                break
        return hits[:k] if len(hits) >= k else self._search_all(field, query, k, scope)

    def _search_all(self, field: str, query: str | np.ndarray, k: int, scope: _Scope) -> list[Hit]:
        """Return the k best of all hits that match, however many better ones do not."""
        best: list[Hit] = []
        for some in batched((hit.id for hit in self._find(scope)), _IDS_PER_SEARCH):
            among = replace(
                scope, expression=all_of([scope.expression, self.chunks.connection.tenant.one_of_ids(some)])
            )
            found = among.matching(starmap(self.chunks.to_hit, self._rows(field, query, len(some), among)))
            best = sorted([*best, *found], key=_rank)[:k]
        return best

    def _rows(self, field: str, query: Any, limit: int, scope: _Scope) -> list[tuple[Row, float]]:
        """Return the best rows with their scores, best first."""
        if field == "bm25":  # that of Lite is negative
            found = [(row, abs(score)) for row, score in self._found(field, query, limit, scope, {})]
        else:
            found = self._nearest(field, query, limit, scope)
        # The last digits depend on which rows were computed together.
        return [(row, round(score, 6)) for row, score in found]

    def _nearest(self, field: str, query: np.ndarray, limit: int, scope: _Scope) -> list[tuple[Row, float]]:
        """Return the rows with the largest cosines, as exactly as the type of index allows."""
        index_type, profile = find_index_type(self.chunks.index_type), self.chunks.connection.profile
        filtered, compared_again = bool(scope.expression), index_type.rescored > 1
        candidates = min(limit * index_type.rescored, index_type.max_hits)
        params = profile.search_params(index_type.name, candidates, filtered=filtered)
        fields = [*HIT_FIELDS, field] if compared_again else HIT_FIELDS
        found = self._found(field, query, candidates, scope, params, fields)
        if filtered and len(found) < candidates and (everywhere := profile.exhaustive_params(params)):
            found = self._found(field, query, candidates, scope, everywhere, fields)  # matches lie in other lists, too
        if not compared_again:
            return found
        decode, exact = self.chunks.codec.decode_vector, np.asarray(query, dtype=np.float32)
        scored = [(row, float(decode(row.pop(field)) @ exact)) for row, _ in found]
        return sorted(scored, key=lambda each: -each[1])[:limit]

    def _found(
        self, field: str, query: Any, limit: int, scope: _Scope, params: Params, fields: list[str] = HIT_FIELDS
    ) -> list[tuple[Row, float]]:
        """Return the rows that the store finds, with its scores, best first."""
        try:
            return self.chunks.connection.search(
                self.chunks.name,
                field,
                query,
                limit=limit,
                expression=scope.expression,
                metric="BM25" if field == "bm25" else "IP",
                params=params,
                fields=fields,
                user_filter=scope.user_filter,
            )
        except StoreError as error:
            if type(error) is StoreError:  # such as that of vectors of another dimension
                self.chunks.check()
            raise

    def _scope(self, filter: Filter | None, kinds: Collection[Kind] | None) -> _Scope:
        """Combine the filter and the kinds."""
        codec, conditions, connection = self.chunks.codec, check_filter(filter), self.chunks.connection
        if codec.flat and isinstance(filter, str):
            check_names(filter)
        if connection.tenant.name and isinstance(filter, str) and "id" in names_in(filter):
            raise InputError(
                f'the filter {filter!r:.80} names the id of a tenant\'s chunk; use a mapping: {{"id": [...]}}'
            )
        if not isinstance(kinds, str | None) and set(kinds) == set(KINDS):
            kinds = None  # the store would check it for every row
        # Lite reads the metadata of items in 40 ms per thousand rows, or 2 ms if they are flat. The expression asks for
        # them only if there are items.
        has_items = True
        if connection.profile.flat_metadata and conditions and names_field(conditions):
            self.flush_buffer()
            has_items = connection.count(self.chunks.name, IS_ITEM) > 0
        return _Scope(
            expression(
                conditions or filter,
                kinds,
                has_items=has_items,
                flat=codec.flat,
                nulls=codec.nulls,
                stored_id=connection.tenant.stored_id,
            ),
            filter,
            conditions,
        )


def _rank(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id
