"""Searches collections of Milvus Lite by arrays, where Lite compares the keys of all rows in Python loops.

`install` replaces the two functions of Lite that rank rows, by vector and by terms. They find the same rows, with these
differences: only the fields that are asked for are read, the rows that were replaced or deleted are found out after
each write and not in each search, the flat metadata that filters name are parsed once, and BM25 counts how rare a term
is in the whole collection, not among the rows that were flushed together. Searches of a kind that this package does not
use are left to Lite.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from milvus_lite.engine import collection as lite
from milvus_lite.engine.projection import build_projection_plan, project_record
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.search.distance import compute_distances
from milvus_lite.search.filter import evaluate_mask
from milvus_lite.search.filter.eval.hybrid_backend import (
    _augment_table,
    _rewrite_meta_access,
    _synthetic_name,
    collect_meta_keys,
)
from milvus_lite.storage.segment import _extract_vector_array

from florence_rag.index.lite.term_index import TermIndex, bm25_scores

_FEW = 0.25
"""The share of rows below which their vectors are copied before they are compared."""

_MAX_KEYS = 64
"""Keys of flat metadata that are kept for each source."""

_Ranking = tuple[np.ndarray, np.ndarray]
"""Rows of a source (N,), and their distances (N,), the smallest first."""

_search_vectors = lite.execute_search_with_index
_search_terms = lite.Collection._search_sparse


def install() -> None:
    """Make all collections of this process search by arrays."""
    lite.execute_search_with_index = search_vectors
    lite.Collection._search_sparse = search_terms


class _Source(NamedTuple):
    """Rows that are searched together: those of a segment, or all that are not flushed.

    Attributes:
        keys: The primary key of each row.
        numbers: The number of the write of each row; of rows with the same key, the one with the largest counts.
        table: The fields of each row.
        vector_data: Returns the vectors (N, D) of a field, and whether each row has one, or None if all have.
        indexes: The index of each vector field.
        kept: The terms of each sparse field and the columns of flat metadata, once they were needed.
    """

    keys: Sequence[Any]
    numbers: np.ndarray
    table: Any
    vector_data: Callable[[str], tuple[np.ndarray, np.ndarray | None]]
    indexes: Mapping[str, Any]
    kept: dict[str, Any]

    def term_index(self, field: str) -> TermIndex:
        """Return the terms of all rows."""
        if not isinstance(self.kept.get(field), TermIndex):
            self.kept[field] = TermIndex(self.table.column(field).to_pylist())
        index: TermIndex = self.kept[field]
        return index

    def matches(self, condition: Any) -> np.ndarray:
        """Return whether each row meets a filter."""
        keys = collect_meta_keys(condition.ast)
        if condition.backend != "hybrid" or not keys:
            return evaluate_mask(condition, self.table)  # type: ignore[no-any-return]
        try:
            by_columns = replace(condition, ast=_rewrite_meta_access(condition.ast, keys), backend="arrow")
            return evaluate_mask(by_columns, self._with_metadata(keys))  # type: ignore[no-any-return]
        except (pa.ArrowException, TypeError, NotImplementedError, KeyError):  # such as of values of several types
            return evaluate_mask(condition, self.table)  # type: ignore[no-any-return]

    def _with_metadata(self, keys: set[str]) -> Any:
        """Return the table with the values of some keys of the flat metadata as columns."""
        columns = self.kept.setdefault("$meta", {})
        if len(columns) > _MAX_KEYS:
            columns.clear()
        for key in keys - columns.keys():
            columns[key] = _augment_table(self.table.select(["$meta"]), {key}).column(1)
        table = self.table
        for key in keys:
            table = table.append_column(_synthetic_name(key), columns[key])
        return table

    def record(self, row: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return some fields of a row."""
        return {name: self.table.column(name)[row].as_py() for name in fields}


class _Snapshot(NamedTuple):
    """The rows of a collection after a write.

    Attributes:
        state: What changes with each write.
        sources: The rows.
        current: For each source, which rows are the newest of their key and not deleted.
    """

    state: tuple[Any, ...]
    sources: list[_Source]
    current: list[np.ndarray]


_snapshots: WeakKeyDictionary[Any, _Snapshot] = WeakKeyDictionary()
"""The last snapshot of each collection, by its rows that are not flushed."""


def search_vectors(
    query_vectors: np.ndarray,
    segments: Sequence[Any],
    memtable: Any,
    delta_index: Any,
    top_k: int,
    metric_type: str,
    pk_field: str,
    vector_field: str,
    partition_names: list[str] | None = None,
    compiled_filter: Any = None,
    output_fields: list[str] | None = None,
    indexed_filter_plan: Any = None,
    project_record_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    search_params: dict[str, Any] | None = None,
) -> list[list[dict[str, Any]]]:
    """Return the nearest rows to each query (Q, D), as the function of Lite does."""
    if partition_names or project_record_fn is None:
        return _search_vectors(  # type: ignore[no-any-return]
            query_vectors,
            segments,
            memtable,
            delta_index,
            top_k,
            metric_type,
            pk_field,
            vector_field,
            partition_names,
            compiled_filter,
            output_fields,
            indexed_filter_plan,
            project_record_fn,
            search_params,
        )
    snapshot = _snapshot(segments, memtable, delta_index)
    allowed = _allowed(snapshot, compiled_filter)
    results = []
    for query in np.atleast_2d(np.asarray(query_vectors, np.float32)):
        rankings = [
            _nearest(source, vector_field, query, top_k, mask, metric_type, search_params)
            for source, mask in zip(snapshot.sources, allowed, strict=True)
        ]
        results.append(_hits(snapshot.sources, rankings, top_k, output_fields, pk_field, project_record_fn))
    return results


def search_terms(
    collection: Any,
    query_vectors: list[Any],
    vector_field: str,
    top_k: int,
    metric_type: str,
    partition_names: list[str] | None,
    expr: str | None,
    output_fields: list[str] | None,
    timezone: str | None = None,
) -> list[list[dict[str, Any]]]:
    """Return the rows with the largest BM25 score for each query, as the method of Lite does."""
    if partition_names or metric_type != "BM25":
        return _search_terms(  # type: ignore[no-any-return]
            collection, query_vectors, vector_field, top_k, metric_type, partition_names, expr, output_fields, timezone
        )
    spec = collection._index_specs.get(vector_field)
    params = spec.build_params if spec else {}
    weights = float(params.get("bm25_k1", 1.5)), float(params.get("bm25_b", 0.75))
    condition = collection._compile_filter(expr, timezone=timezone) if expr else None
    segments, deleted = collection._read_snapshot()
    snapshot = _snapshot(segments, collection._memtable, deleted)
    allowed = _allowed(snapshot, condition)
    indexes = [source.term_index(vector_field) for source in snapshot.sources]
    plan = build_projection_plan(output_fields, collection._schema, api_kind="search")
    project = partial(project_record, schema=collection._schema, plan=plan)
    results = []
    for query in collection._prepare_sparse_queries(query_vectors, vector_field):
        scores = bm25_scores(indexes, query, *weights)
        rankings = [_best(-score, mask & (score > 0), top_k) for score, mask in zip(scores, allowed, strict=True)]
        results.append(_hits(snapshot.sources, rankings, top_k, output_fields, collection._pk_name, project))
    return results


def _snapshot(segments: Sequence[Any], memtable: Any, deleted: Any) -> _Snapshot:
    """Return the rows of a collection, as the last search found them if nothing was written since."""
    state = segments, deleted._map, memtable.max_seq
    snapshot = _snapshots.get(memtable)
    if snapshot is None or snapshot.state != state:
        sources = [*map(_flushed, segments), _unflushed(memtable)]
        deletions = deleted._map | {key: number for key, (number, _) in memtable.delete_index_snapshot().items()}
        snapshot = _snapshots[memtable] = _Snapshot(state, sources, _current(sources, deletions))
    return snapshot


def _flushed(segment: Any) -> _Source:
    return _Source(
        segment.pks, segment.seqs, segment.table, segment.vector_data, segment.indexes, segment.sparse_indexes
    )


def _unflushed(memtable: Any) -> _Source:
    keys, numbers, _, _, table = memtable.to_search_snapshot(vector_field=None, include_table=True)
    vector_data = cache(lambda field: _extract_vector_array(table.column(field)))
    return _Source(keys, numbers, table, vector_data, {}, {})


def _current(sources: Sequence[_Source], deletions: Mapping[Any, int]) -> list[np.ndarray]:
    """Return for each source which rows are the newest of their key and not deleted. deletions: number by key."""
    newest = dict(deletions)
    numbers = [source.numbers.tolist() for source in sources]
    for source, written in zip(sources, numbers, strict=True):
        for key, number in zip(source.keys, written, strict=True):
            if newest.get(key, -1) < number:
                newest[key] = number
    return [
        np.fromiter(
            (newest[key] == number for key, number in zip(source.keys, written, strict=True)), bool, len(written)
        )
        for source, written in zip(sources, numbers, strict=True)
    ]


def _allowed(snapshot: _Snapshot, condition: Any) -> list[np.ndarray]:
    """Return for each source which rows are current and meet a filter, if there is one."""
    if condition is None:
        return snapshot.current
    return [
        mask & source.matches(condition) if mask.any() else mask
        for source, mask in zip(snapshot.sources, snapshot.current, strict=True)
    ]


def _nearest(
    source: _Source, field: str, query: np.ndarray, k: int, allowed: np.ndarray, metric: str, params: Any
) -> _Ranking:
    vectors, filled = source.vector_data(field)
    allowed = allowed if filled is None else allowed & filled
    index = source.indexes.get(field)
    if not isinstance(index, BruteForceIndex | None):
        rows, distances = index.search(query[None], k, valid_mask=None if allowed.all() else allowed, params=params)
        found = rows[0] >= 0
        return rows[0][found], distances[0][found]
    if np.count_nonzero(allowed) > _FEW * len(allowed):
        return _best(compute_distances(query, vectors, metric), allowed, k)
    rows = np.flatnonzero(allowed)
    best, distances = _best(compute_distances(query, vectors[rows], metric), np.ones(len(rows), bool), k)
    return rows[best], distances


def _best(distances: np.ndarray, allowed: np.ndarray, k: int) -> _Ranking:
    """Return the k allowed rows with the smallest distances (N,)."""
    rows = np.flatnonzero(allowed)
    among = distances[rows]
    if k < len(rows):
        nearest = np.argpartition(among, k - 1)[:k]
        rows, among = rows[nearest], among[nearest]
    order = np.lexsort((rows, among))
    return rows[order], among[order]


def _hits(
    sources: Sequence[_Source],
    rankings: Sequence[_Ranking],
    k: int,
    fields: Sequence[str] | None,
    key_field: str,
    project: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Merge the rankings of all sources. project: picks the fields of a record that has values in its dynamic field."""
    distances = np.concatenate([found for _, found in rankings]) if rankings else np.array([])
    order = np.argsort(distances, kind="stable")[:k].tolist()
    places = [(source, row) for source, (rows, _) in zip(sources, rankings, strict=True) for row in rows.tolist()]
    columns = [name for name in sources[0].table.column_names if name != "_seq"]
    are_columns = fields is not None and set(fields).issubset(columns)
    read = [name for name in fields if name != key_field] if fields is not None and are_columns else columns
    hits = []
    for place in order:
        source, row = places[place]
        record = source.record(row, read)
        entity = record if are_columns else project(record)
        hits.append({"id": source.keys[row], "distance": float(distances[place]), "entity": entity})
    return hits
