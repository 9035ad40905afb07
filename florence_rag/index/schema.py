"""The collections of an index: their fields, their indexes, and how to search these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType

from florence_rag.errors import InputError
from florence_rag.index.rows import MAX_ID_BYTES, MAX_TEXT_BYTES, MAX_URI_BYTES

VERSION = 1
"""Of what is written below. An index of another version is not opened."""

MAX_LIMIT = 16_384
"""The most hits that a server returns for one search."""

_LITE_TYPES = ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "AUTOINDEX")  # Lite takes any name and fails at the next start
_SERVER_TYPES = (*_LITE_TYPES, "HNSW_PQ", "IVF_SQ8", "IVF_PQ", "IVF_RABITQ", "SCANN", "DISKANN")
_IVF_LISTS = 128
_LITE_SEGMENT_ROWS = 100_000

IndexParams = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One collection. indexes: by field. consistency: what readers of a server see of recent writes."""

    name: str
    schema: CollectionSchema
    indexes: Mapping[str, IndexParams]
    consistency: str


def check_index_type(index_type: str | None, *, lite: bool) -> None:
    """InputError for an index type that the store does not have; None leaves the choice to index_type_for."""
    allowed = _LITE_TYPES if lite else _SERVER_TYPES
    if index_type is not None and index_type.upper() not in allowed:
        store = "Milvus Lite" if lite else "a Milvus server"
        raise InputError(f"index type {index_type!r} is unknown to {store}; use {', '.join(allowed)}")


def index_type_for(asked: str | None, present: str | None, *, lite: bool) -> str:
    """The index type that is asked for, or else the present one if the store can load it, or else the best.

    On Lite that is FLAT: exact, also under filters, under which its HNSW misses most of what matches, and at 50,000
    rows still within 60 ms.
    """
    if asked:
        return asked.upper()
    if present and present in (_LITE_TYPES if lite else _SERVER_TYPES):
        return present
    return "FLAT" if lite else "HNSW"


def chunk_table(name: str, dimension: int, index_type: str, text_dimension: int | None = None) -> Table:
    """Chunks: what they are, where they lie, their words and their vector, and that of their words if an index has it.

    A row without words has a text vector, too, that says nothing: servers demand one, and Lite returns rows without one
    at distance 0, before all that is worse. Searches leave out what is not worded.
    """
    # No partition key: in Lite it halves the speed and tears batches apart, and a server whose upsert was tried with
    # one (2.3.5) put rows where no filter on the key found them.
    fields = [
        _varchar("id", MAX_ID_BYTES, is_primary=True),
        _varchar("source", MAX_URI_BYTES),
        _varchar("kind", 16),
        FieldSchema("page", DataType.INT64, nullable=True),
        FieldSchema("start_s", DataType.DOUBLE, nullable=True),
        FieldSchema("end_s", DataType.DOUBLE, nullable=True),
        FieldSchema("locator", DataType.JSON),
        *(_varchar(field, MAX_TEXT_BYTES) for field in ("text", "caption", "ocr")),
        FieldSchema("metadata", DataType.JSON),
        # Terms are split before they come here: Milvus' analyzers differ, and Lite's cannot split Japanese.
        _varchar("terms", MAX_TEXT_BYTES, enable_analyzer=True, analyzer_params={"tokenizer": "standard"}),
        FieldSchema("bm25", DataType.SPARSE_FLOAT_VECTOR),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dimension),
    ]
    if text_dimension is not None:
        fields.append(FieldSchema("worded", DataType.BOOL))
        fields.append(FieldSchema("text_vector", DataType.FLOAT_VECTOR, dim=text_dimension))
    bm25 = Function("bm25_of_terms", FunctionType.BM25, input_field_names="terms", output_field_names="bm25")
    indexes = {
        **{field.name: _vector_index(index_type) for field in fields if field.dtype == DataType.FLOAT_VECTOR},
        "bm25": {
            "index_type": "SPARSE_INVERTED_INDEX",
            "metric_type": "BM25",
            "params": {"bm25_k1": 1.2, "bm25_b": 0.75},
        },
    }
    return Table(name, CollectionSchema(fields, functions=[bm25]), indexes, "Session")


def ledger_table(name: str) -> Table:
    """Sources, failures and settings, each a JSON text.

    A collection of its own, so that no search, filter or count over chunks has to step around it. Milvus demands a
    vector; two zeros do.
    """
    fields = [
        _varchar("id", 64, is_primary=True),
        _varchar("state", 16),
        _varchar("body", MAX_TEXT_BYTES),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=2),
    ]
    index = {"index_type": "FLAT", "metric_type": "IP", "params": {}}
    return Table(name, CollectionSchema(fields), {"vector": index}, "Strong")


def vector_search_params(index_type: str, limit: int, *, lite: bool, filtered: bool) -> dict[str, Any]:
    """How hard to look. On Lite, HNSW looks everywhere under a filter, or it would miss matches, and IVF always, as it
    returns too few hits of a small index."""
    params: dict[str, int] = {}
    if index_type.startswith("HNSW") or (index_type == "AUTOINDEX" and lite):
        params["ef"] = _LITE_SEGMENT_ROWS if lite and filtered else max(512, 2 * limit)
    elif index_type.startswith(("IVF", "SCANN")):
        params["nprobe"] = _IVF_LISTS if lite else 32
    elif index_type == "DISKANN":
        params["search_list"] = max(100, 2 * limit)
    return {"metric_type": "IP", "params": params}


def _vector_index(index_type: str) -> IndexParams:
    params: dict[str, int] = {}
    if index_type.startswith("HNSW"):
        params = {"M": 16, "efConstruction": 200}
    elif index_type.startswith(("IVF", "SCANN")):
        params = {"nlist": _IVF_LISTS}
    # Vectors have unit length, so their inner product is the cosine.
    return {"index_type": index_type, "metric_type": "IP", "params": params}


def _varchar(name: str, max_length: int, **rest: Any) -> FieldSchema:
    return FieldSchema(name, DataType.VARCHAR, max_length=max_length, **rest)
