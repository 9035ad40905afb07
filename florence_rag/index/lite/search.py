"""Searches collections of Milvus Lite by arrays, where Lite compares the keys of all rows in Python loops.

`install` replaces the two functions of Lite that rank rows, by vector and by terms. They find the same rows, with these
differences: only the fields that are asked for are read, the rows that were replaced or deleted are found out after
each write and not in each search, the flat metadata that filters name are parsed once, and BM25 counts how rare a term
is among all present rows, not among those that were flushed together. Searches of a kind that this package does not
use are left to Lite.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache, partial
from itertools import chain
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

from florence_rag.index.lite.call_order import ReadWriteLock
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
        index = self.kept.get(field)
        if not isinstance(index, TermIndex):
            index = self.kept[field] = TermIndex(self.table.column(field).to_pylist())
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


class _Flushed(NamedTuple):
    """The rows of all segments of a collection.

    Attributes:
        state: What changes with each flush and each compaction.
        sources: The rows.
        numbers: The numbers of all rows (N,), in the order of the sources.
        row: The place of the newest row of each key in this order.
        current: Which rows (N,) are the newest of their key and not deleted.
    """

    state: tuple[Any, ...]
    sources: list[_Source]
    numbers: np.ndarray
    row: dict[Any, int]
    current: np.ndarray


class Snapshot(NamedTuple):
    """The rows of a collection after a write. Later writes do not change it.

    Attributes:
        number: The number of that write.
        flushed: The rows of its segments.
        sources: All rows.
        current: For each source, which rows are the newest of their key and not deleted.
    """

    number: int
    flushed: _Flushed
    sources: list[_Source]
    current: list[np.ndarray]


_snapshots: WeakKeyDictionary[Any, Snapshot] = WeakKeyDictionary()
"""The last snapshot of each collection, by its rows that are not flushed."""
_taken: ContextVar[Snapshot | None] = ContextVar("_taken", default=None)


@contextmanager
def searching_snapshot(collection: Any, lock: ReadWriteLock) -> Iterator[None]:
    """Let searches in the block find the rows that a collection has at its beginning, while others may write."""
    with lock.reading():
        taken = _newest_snapshot(collection._read_snapshot(), collection._memtable)
    token = _taken.set(taken)
    try:
        yield
    finally:
        _taken.reset(token)


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
    snapshot = _taken.get() or _newest_snapshot((segments, delta_index), memtable)
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
    snapshot = _taken.get() or _newest_snapshot(collection._read_snapshot(), collection._memtable)
    allowed = _allowed(snapshot, condition)
    indexes = [source.term_index(vector_field) for source in snapshot.sources]
    plan = build_projection_plan(output_fields, collection._schema, api_kind="search")
    project = partial(project_record, schema=collection._schema, plan=plan)
    results = []
    for query in collection._prepare_sparse_queries(query_vectors, vector_field):
        scores = bm25_scores(indexes, snapshot.current, query, *weights)
        rankings = [_best(-score, mask & (score > 0), top_k) for score, mask in zip(scores, allowed, strict=True)]
        results.append(_hits(snapshot.sources, rankings, top_k, output_fields, collection._pk_name, project))
    return results


def _newest_snapshot(flushed_rows: tuple[Sequence[Any], Any], memtable: Any) -> Snapshot:
    """Return the rows of a collection, as the last search found them if nothing was written since."""
    segments, deleted = flushed_rows
    state, number = (segments, deleted._map), memtable.max_seq
    last = _snapshots.get(memtable)
    if last is None or (last.flushed.state, last.number) != (state, number):
        flushed = last.flushed if last and last.flushed.state == state else _flushed(state)
        last = _snapshots[memtable] = _with_unflushed(flushed, memtable, number)
    return last


def _flushed(state: tuple[Sequence[Any], Mapping[Any, int]]) -> _Flushed:
    segments, deletions = state
    sources = [
        _Source(each.pks, each.seqs, each.table, each.vector_data, each.indexes, each.sparse_indexes)
        for each in segments
    ]
    numbers = np.concatenate([np.zeros(0, np.uint64), *(source.numbers for source in sources)])
    row: dict[Any, int] = {}
    for place, key in enumerate(chain.from_iterable(source.keys for source in sources)):
        if (other := row.get(key)) is None or numbers[other] < numbers[place]:
            row[key] = place
    current = np.zeros(len(numbers), bool)
    current[list(row.values())] = True
    _remove(current, row, numbers, deletions.items())
    return _Flushed(state, sources, numbers, row, current)


def _with_unflushed(flushed: _Flushed, memtable: Any, number: int) -> Snapshot:
    keys, numbers, _, _, table = memtable.to_search_snapshot(vector_field=None, include_table=True)
    vector_data = cache(lambda field: _extract_vector_array(table.column(field)))
    current = flushed.current.copy()
    deletions = ((key, deleted) for key, (deleted, _) in memtable.delete_index_snapshot().items())
    _remove(current, flushed.row, flushed.numbers, chain(zip(keys, numbers.tolist(), strict=True), deletions))
    ends = np.cumsum([len(source.keys) for source in flushed.sources])
    return Snapshot(
        number,
        flushed,
        [*flushed.sources, _Source(keys, numbers, table, vector_data, {}, {})],
        [*np.split(current, ends)[:-1], np.ones(len(keys), bool)],
    )


def _remove(current: np.ndarray, row: Mapping[Any, int], numbers: np.ndarray, later: Iterable[tuple[Any, int]]) -> None:
    """Mark rows that were replaced or deleted as not current. later: the keys and numbers of these writes."""
    for key, number in later:
        place = row.get(key)
        if place is not None and numbers[place] < number:
            current[place] = False


def _allowed(snapshot: Snapshot, condition: Any) -> list[np.ndarray]:
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
