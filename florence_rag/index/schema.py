"""The collections of an index: their fields, their indexes, and how to search these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType

from florence_rag.errors import InputError
from florence_rag.index.index_types import DTYPE_BYTES, VectorDtype, available_index_types, build_params, search_params
from florence_rag.index.rows import MAX_ID_BYTES, MAX_TEXT_BYTES, MAX_URI_BYTES

VERSION = 1
"""Of what is written below. An index of another version is not opened."""

MAX_LIMIT = 16_384
"""The most hits that a server returns for one search."""

_VECTOR_FIELDS: Mapping[VectorDtype, DataType] = {
    "fp32": DataType.FLOAT_VECTOR,
    "fp16": DataType.FLOAT16_VECTOR,
    "bf16": DataType.BFLOAT16_VECTOR,
}

IndexParams = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One collection. indexes: by field. consistency: what readers of a server see of recent writes."""

    name: str
    schema: CollectionSchema
    indexes: Mapping[str, IndexParams]
    consistency: str


def check_vector_dtype(vectors: str | None, *, lite: bool) -> None:
    """InputError for a way to keep vectors that the store does not have."""
    if vectors is not None and vectors not in _VECTOR_FIELDS:
        raise InputError(f"vectors {vectors!r} are unknown; use {', '.join(_VECTOR_FIELDS)}")
    if lite and vectors not in (None, "fp32"):
        raise InputError(f"Milvus Lite keeps vectors as fp32 only, not as {vectors}; leave it out, or use a server")


def index_type_for(asked: str | None, present: str | None, *, lite: bool) -> str:
    """The index type that is asked for, or else the present one if the store can load it, or else the best.

    On Lite that is FLAT: exact, also under filters, and as fast as its HNSW at any size, as what takes the time is the
    store's own work on every row.
    """
    if asked:
        return asked.upper()
    if present and present in available_index_types(lite=lite):
        return present
    return "FLAT" if lite else "HNSW"


def chunk_table(
    name: str,
    dimension: int,
    index_type: str,
    text_dimension: int | None = None,
    *,
    vector_dtype: VectorDtype = "fp32",
    lite: bool = True,
) -> Table:
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
        FieldSchema("vector", _VECTOR_FIELDS[vector_dtype], dim=dimension),
    ]
    if text_dimension is not None:
        fields.append(FieldSchema("worded", DataType.BOOL))
        fields.append(FieldSchema("text_vector", _VECTOR_FIELDS[vector_dtype], dim=text_dimension))
    bm25 = Function("bm25_of_terms", FunctionType.BM25, input_field_names="terms", output_field_names="bm25")
    widths = {"vector": dimension, **({"text_vector": text_dimension} if text_dimension is not None else {})}
    indexes = {
        **{field: _vector_index(index_type, width, vector_dtype, lite=lite) for field, width in widths.items()},
        "bm25": {
            "index_type": "SPARSE_INVERTED_INDEX",
            "metric_type": "BM25",
            "params": build_params("SPARSE_INVERTED_INDEX", dimension),
        },
    }
    # On Lite the metadata lie in the dynamic field as well: see index/lite_metadata.py.
    schema = CollectionSchema(fields, functions=[bm25], enable_dynamic_field=lite)
    return Table(name, schema, indexes, "Session")


def probe_schema(dimension: int, vectors: VectorDtype) -> CollectionSchema:
    """The least that an index can be tried on."""
    return CollectionSchema(
        [_varchar("id", MAX_ID_BYTES, is_primary=True), FieldSchema("vector", _VECTOR_FIELDS[vectors], dim=dimension)]
    )


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
    """How hard to look."""
    return {"metric_type": "IP", "params": search_params(index_type, limit, lite=lite, filtered=filtered)}


def _vector_index(index_type: str, dimension: int, vectors: VectorDtype, *, lite: bool) -> IndexParams:
    params = build_params(index_type, dimension, DTYPE_BYTES[vectors], lite=lite)
    # Vectors have unit length, so their inner product is the cosine.
    return {"index_type": index_type, "metric_type": "IP", "params": params}


def _varchar(name: str, max_length: int, **rest: Any) -> FieldSchema:
    return FieldSchema(name, DataType.VARCHAR, max_length=max_length, **rest)
