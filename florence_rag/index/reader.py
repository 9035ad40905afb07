"""Searches one collection of chunks and reads its rows, as they are after all writes so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.index import schema
from florence_rag.index.base import Filter
from florence_rag.index.connection import Connection, in_batches
from florence_rag.index.filters import expression
from florence_rag.index.index_types import find_index_type
from florence_rag.index.lite.metadata import check_names
from florence_rag.index.literals import one_of, starts_with
from florence_rag.index.row_codec import VECTOR_FIELDS, RowCodec
from florence_rag.index.rows import HIT_FIELDS, STORED_FIELDS, Row, checked_uri, checked_vectors, row_to_hit
from florence_rag.index.text_codec import query_terms
from florence_rag.types import KINDS, Hit, Kind, item_uri

_SPARES = (1, 16, 256)  # hits asked for beyond k, to break ties at the end by id; more only where the last are equal
_URIS_PER_CALL = 200


class Reader:
    """Of the chunks in a collection. write: called first, sends what has gathered.

    dimension: of the vectors, D. text_dimension: of those of words, T; None where there are none. A wrong vector,
    filter or k is an InputError. Hits come best first, ties by id; those that are not searched for have score 0.
    """

    def __init__(
        self,
        connection: Connection,
        collection: str,
        write: Callable[[], None],
        form: RowCodec,
        index_type: str,
        dimension: int,
        text_dimension: int | None,
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._write = write
        self._form = form
        self._index_type = index_type
        self._dimension = dimension
        self._text_dimension = text_dimension

    def search_vector(
        self, vector: np.ndarray, k: int, kinds: Collection[Kind] | None, filter: Filter | None
    ) -> list[Hit]:
        """The k chunks nearest to vector (D,). score: the cosine."""
        query = checked_vectors(np.asarray(vector)[None], 1, self._dimension)[0]
        return self._search("vector", self._form.encode_query(query), k, self._restriction(filter, kinds), filter)

    def search_text_vector(
        self, vector: np.ndarray, k: int, kinds: Collection[Kind] | None, filter: Filter | None
    ) -> list[Hit]:
        """The k chunks whose words are nearest to vector (T,). score: the cosine."""
        query = checked_vectors(np.asarray(vector)[None], 1, self._needed_text_dimension())[0]
        restriction = self._restriction(filter, kinds)
        worded = f"({restriction}) and worded == true" if restriction else "worded == true"
        return self._search("text_vector", self._form.encode_query(query), k, worded, filter)

    def search_bm25(self, query: str, k: int, kinds: Collection[Kind] | None, filter: Filter | None) -> list[Hit]:
        """The k chunks whose words fit the query best. score: BM25, above 0, larger is better."""
        return self._search("bm25", query_terms(query), k, self._restriction(filter, kinds), filter)

    def _search(
        self, field: str, query: str | list[float] | np.ndarray, k: int, restriction: str, given: Filter | None
    ) -> list[Hit]:
        most = find_index_type(self._index_type).max_hits if field != "bm25" else schema.MAX_LIMIT
        _check_k(k, most)
        if isinstance(query, str) and not query:  # a server rejects what Lite finds nothing for
            return []
        self._write()

        def nearest(limit: int) -> list[Hit]:
            limit = min(limit, most)
            found = self._connection.search(
                self._collection,
                field,
                query,
                limit=limit,
                expression=restriction,
                params=self._search_params(field, limit, bool(restriction)),
                fields=HIT_FIELDS,
                given=given,
            )
            # Lite's BM25 is negative. The last digits depend on which rows were computed together.
            hits = [row_to_hit(row, round(abs(score) if field == "bm25" else score, 6)) for row, score in found]
            return sorted(hits, key=lambda hit: (-hit.score, hit.id))

        hits: list[Hit] = []
        for spare in _SPARES[field == "bm25" :]:  # words give equal scores more often than vectors
            hits = nearest(k + spare)
            if len(hits) < k + spare or hits[-1].score != hits[k - 1].score:
                break
        return hits[:k]

    def _restriction(self, filter: Filter | None, kinds: Collection[Kind] | None) -> str:
        """Lite takes 40 ms per thousand rows to read the source that items name, if its metadata are not flat, and 2 ms
        if they are: asked only where there are items."""
        if self._form.flat and isinstance(filter, str):
            check_names(filter)
        asked = isinstance(filter, Mapping) and "source" in filter and self._connection.is_lite
        if not isinstance(kinds, str | None) and set(kinds) == set(KINDS):
            kinds = None  # it would be checked for every row
        return expression(filter, kinds, named=not asked or self._has_items(), flat=self._form.flat)

    def _has_items(self) -> bool:
        self._write()
        return self._connection.count(self._collection, starts_with("source", item_uri(""))) > 0

    def _search_params(self, field: str, limit: int, filtered: bool) -> dict[str, Any]:
        if field == "bm25":
            return {"metric_type": "BM25", "params": {}}
        lite = self._connection.is_lite
        return schema.vector_search_params(self._index_type, limit, lite=lite, filtered=filtered)

    def find(self, kinds: Collection[Kind] | None, filter: Filter | None) -> Iterator[Hit]:
        """All chunks that fit, in no order."""
        restriction = self._restriction(filter, kinds)
        self._write()
        return map(row_to_hit, self._connection.rows(self._collection, HIT_FIELDS, restriction, given=filter))

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """The chunks of these ids, in this order; unknown ids are left out."""
        rows = self._rows_of(ids, HIT_FIELDS)
        return [row_to_hit(rows[id]) for id in ids if id in rows]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, D): of these ids, in this order; an unknown id is an InputError."""
        vectors = [self._form.decode_vector(row["vector"]) for row in self._known_rows(ids, ["id", "vector"])]
        return np.array(vectors, dtype=np.float32).reshape(len(ids), self._dimension)

    def text_vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(N, T): of the words of these ids, in this order, zeros where there are none; an unknown id is an
        InputError."""
        width = self._needed_text_dimension()
        rows = self._known_rows(ids, ["id", "worded", "text_vector"])
        none = np.zeros(width, dtype=np.float32)
        vectors = [self._form.decode_vector(row["text_vector"]) if row["worded"] else none for row in rows]
        return np.array(vectors, dtype=np.float32).reshape(len(ids), width)

    def _needed_text_dimension(self) -> int:
        if not self._text_dimension:
            raise InputError("the index keeps no vectors of words; make a new one with a text_embedder")
        return self._text_dimension

    def chunks_of(self, uris: Collection[str]) -> Iterator[Hit]:
        """All chunks of these sources, in no order."""
        self._write()
        return map(row_to_hit, self._rows_below(uris, HIT_FIELDS))

    def whole_rows(self, uris: Collection[str]) -> Iterator[Row]:
        """All rows of these sources, in no order, but for what the store computes; vectors are float32."""
        return map(self._restored, self._rows_below(uris, self._kept_fields()))

    def whole_rows_of(self, ids: Sequence[str]) -> list[Row]:
        """The same of these ids, in this order; an unknown id is an InputError."""
        return [self._restored(row) for row in self._known_rows(ids, self._kept_fields())]

    def _rows_below(self, uris: Collection[str], fields: list[str]) -> Iterator[Row]:
        for some in in_batches([checked_uri(uri) for uri in uris], _URIS_PER_CALL):
            yield from self._connection.rows(self._collection, fields, one_of("source", some))

    def _kept_fields(self) -> list[str]:
        """All of a row, but for what the store computes."""
        return [*STORED_FIELDS, *(("worded", "text_vector") if self._text_dimension else ())]

    def _restored(self, row: Row) -> Row:
        vectors = {name: self._form.decode_vector(row[name]) for name in VECTOR_FIELDS if name in row}
        return {name: row[name] for name in self._kept_fields()} | vectors

    def _known_rows(self, ids: Sequence[str], fields: list[str]) -> list[Row]:
        rows = self._rows_of(ids, fields)
        unknown = [id for id in ids if id not in rows]
        if unknown:
            raise unknown_chunk_error(unknown[0])
        return [rows[id] for id in ids]

    def _rows_of(self, ids: Sequence[str], fields: list[str]) -> Mapping[str, Row]:
        if isinstance(ids, str) or not all(isinstance(id, str) for id in ids):
            raise InputError(f"ids {ids!r} are no list of texts; they come from hits")
        self._write()
        return self._connection.rows_of(self._collection, list(dict.fromkeys(ids)), fields)


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise InputError(f"k is {k!r}; allowed are 1 to {most}")
