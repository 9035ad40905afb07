"""Parameters of indexes and searches in Milvus Lite, and the size up to which it is the right store."""

from __future__ import annotations

from florence_rag.index.index_types import INDEX_TYPES, Params

LITE_ROWS = 25_000
"""Up to this size a search by terms and vectors in Milvus Lite takes about a tenth of a second: benchmarks/lite.py."""

DEFAULT_INDEX_TYPE = "FLAT"
"""Exact, also under filters, and as fast as Lite's HNSW at any size, as Lite spends the time in loops over rows."""

_LISTS = 128
_SEGMENT_ROWS = 100_000


def capacity_advice(rows: int) -> str:
    """Return what to do about a Milvus Lite database of so many rows, or "" if it is small enough."""
    if rows <= LITE_ROWS:
        return ""
    return (
        f"Milvus Lite is comfortable up to {LITE_ROWS:,} chunks, as its searches take longer with every one; "
        "a Milvus server is due: docs/scale.md says which and how"
    )


def build_params(name: str) -> Params:
    """Return the parameters of an index over one vector field."""
    if name.startswith("HNSW"):
        return INDEX_TYPES["HNSW"].build(0, 0)
    return {"nlist": 1} if name.startswith("IVF") else {}  # all lists are searched, so more would only cost time


def search_params(name: str, limit: int, *, filtered: bool) -> Params:
    """Return the parameters of a search for so many hits.

    Under a filter HNSW searches everywhere, because it would miss matches otherwise. IVF always does, because it
    returns too few hits of a small index.
    """
    if name.startswith("HNSW") or name == "AUTOINDEX":
        return {"ef": _SEGMENT_ROWS if filtered else max(512, 2 * limit)}
    return {"nprobe": _LISTS} if name.startswith("IVF") else {}
