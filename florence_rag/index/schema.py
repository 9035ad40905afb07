"""The schemas of an index's collections: their fields, the indexes over them, and the parameters of searches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType

from florence_rag.index.checksum import CHECKSUM, CHECKSUM_CHARACTERS
from florence_rag.index.index_types import VectorDtype, index_types
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import MAX_ID_BYTES, MAX_URI_BYTES, NULLABLE_FIELDS
from florence_rag.index.store_profile import StoreProfile
from florence_rag.text_arguments import MAX_TEXT_BYTES

VERSION = 3
"""Version of the schemas below and of what the rows contain. `index/migrations.py` lists what has changed."""

MAX_LIMIT = 16_384
"""The most hits that a server returns for one search."""

_VECTOR_FIELDS: Mapping[VectorDtype, DataType] = {
    "fp32": DataType.FLOAT_VECTOR,
    "fp16": DataType.FLOAT16_VECTOR,
    "bf16": DataType.BFLOAT16_VECTOR,
}

_LATER_FIELDS = frozenset({CHECKSUM, "bm25"})
"""The fields that a collection lacks if an older version or an older server created it."""

_PROBE_DIMENSION = 128

_NULLABLE = dict(zip(NULLABLE_FIELDS, (DataType.INT64, DataType.DOUBLE, DataType.DOUBLE), strict=True))
_ANALYZED = {"enable_analyzer": True, "analyzer_params": {"tokenizer": "standard"}}

IndexParams = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """The definition of a collection. indexes: by field. consistency: which recent writes readers of a server see."""

    name: str
    schema: CollectionSchema
    indexes: Mapping[str, IndexParams]
    consistency: str


def chunk_spec(
    profile: StoreProfile,
    name: str,
    dimension: int,
    index_type: str,
    text_dimension: int | None = None,
    *,
    vector_dtype: VectorDtype = "fp32",
) -> CollectionSpec:
    """Return the collection of chunks in a store. text_dimension: of the text vectors, or None if the index has none.

    A row without text has an arbitrary text vector, because servers demand one and Lite would return rows without one
    at distance 0, before all worse hits. Searches select the rows whose `has_text_vector` is true.
    """
    # No partition key: in Lite it halves the speed and tears batches apart, and a server whose upsert was tried with
    # one (2.3.5) put rows where no filter on the key found them.
    fields = [
        _varchar("id", MAX_ID_BYTES, is_primary=True),
        _varchar("source", MAX_URI_BYTES),
        _varchar("kind", 16),
        *(FieldSchema(field, dtype, nullable=profile.has_nulls) for field, dtype in _NULLABLE.items()),
        FieldSchema("locator", DataType.JSON),
        *(_varchar(field, MAX_TEXT_BYTES) for field in ("text", "caption", "ocr")),
        FieldSchema("metadata", DataType.JSON),
        # The index splits terms itself: Milvus' analyzers differ, and Lite's cannot split Japanese.
        _varchar("terms", MAX_TEXT_BYTES, **_ANALYZED if profile.has_bm25 else {}),
        FieldSchema("vector", _VECTOR_FIELDS[vector_dtype], dim=dimension),
        _varchar(CHECKSUM, CHECKSUM_CHARACTERS),
    ]
    indexes: dict[str, IndexParams] = {"vector": vector_index(profile, index_type, dimension, vector_dtype)}
    functions = []
    if profile.has_bm25:
        functions = [Function("bm25_of_terms", FunctionType.BM25, input_field_names="terms", output_field_names="bm25")]
        fields.append(FieldSchema("bm25", DataType.SPARSE_FLOAT_VECTOR))
        params = index_types()["SPARSE_INVERTED_INDEX"].build_params(dimension)
        indexes["bm25"] = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25", "params": params}
    if text_dimension is not None:
        fields.append(FieldSchema("has_text_vector", DataType.BOOL))
        fields.append(FieldSchema("text_vector", _VECTOR_FIELDS[vector_dtype], dim=text_dimension))
        indexes["text_vector"] = vector_index(profile, index_type, text_dimension, vector_dtype)
    # The dynamic field holds the flat metadata.
    schema = CollectionSchema(fields, functions=functions, enable_dynamic_field=profile.flat_metadata)
    return CollectionSpec(name, schema, indexes, "Session")


def probe_spec(profile: StoreProfile, name: str, index_type: str, dtype: VectorDtype) -> CollectionSpec:
    """Return the smallest collection on which an index type can be tried."""
    vector = FieldSchema("vector", _VECTOR_FIELDS[dtype], dim=_PROBE_DIMENSION)
    schema = CollectionSchema([_varchar("id", MAX_ID_BYTES, is_primary=True), vector])
    index = vector_index(profile, index_type, _PROBE_DIMENSION, dtype)
    return CollectionSpec(name, schema, {"vector": index}, "Strong")


def probe_rows(count: int, dtype: VectorDtype) -> list[dict[str, Any]]:
    """Return rows for the collection of `probe_spec`, on which an index is built."""
    if not count:
        return []
    vectors = np.random.default_rng(0).standard_normal((count, _PROBE_DIMENSION)).astype(np.float32)
    encode = RowCodec(dtype, checksums=False).encode
    return [encode({"id": str(number), "vector": vector}) for number, vector in enumerate(vectors)]


def ledger_spec(name: str) -> CollectionSpec:
    """Return the collection of sources, failures and settings, which no search or count over chunks has to exclude."""
    return record_spec(name, 2, state=16)  # Milvus demands a vector, and two zeros suffice


def answer_spec(name: str, dimension: int) -> CollectionSpec:
    """Return the collection of cached answers. dimension: of the vectors of a question and its image together."""
    return record_spec(name, dimension, location=64, model=512)


def record_spec(name: str, dimension: int, **max_bytes: int) -> CollectionSpec:
    """Return a collection of records, each with a JSON text, a vector and text fields of at most so many bytes."""
    fields = [
        _varchar("id", 64, is_primary=True),
        *(_varchar(field, length) for field, length in max_bytes.items()),
        _varchar("body", MAX_TEXT_BYTES),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dimension),
    ]
    index = {"index_type": "FLAT", "metric_type": "IP", "params": {}}
    return CollectionSpec(name, CollectionSchema(fields), {"vector": index}, "Strong")


def misfit(description: Mapping[str, Any], spec: CollectionSpec) -> str:
    """Return why a collection that a store describes cannot be the one of a definition, or ""."""
    found = {field["name"]: field for field in description["fields"]}
    for field in spec.schema.fields:
        other = found.get(field.name)
        if other is None:
            if field.name not in _LATER_FIELDS:
                return f"it has no field {field.name!r}"
        elif other["type"] != field.dtype or bool(other.get("is_primary")) != field.is_primary:
            return f"its field {field.name!r} has another type"
        elif (width := field.params.get("dim")) and int(other["params"]["dim"]) != width:
            return f"its vectors have {other['params']['dim']} dimensions, not {width}"
    return ""


def vector_dtype_of(field_type: DataType) -> VectorDtype:
    """Return the precision of the vectors of a field."""
    return next(dtype for dtype, each in _VECTOR_FIELDS.items() if each == field_type)


def vector_index(profile: StoreProfile, index_type: str, dimension: int, dtype: VectorDtype) -> IndexParams:
    """Return an index over a vector field. Vectors have unit length, so their inner product is the cosine."""
    params = profile.build_params(index_type, dimension, dtype)
    return {"index_type": index_type, "metric_type": "IP", "params": params}


def _varchar(name: str, max_length: int, **rest: Any) -> FieldSchema:
    return FieldSchema(name, DataType.VARCHAR, max_length=max_length, **rest)
