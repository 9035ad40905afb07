"""Recognizes the collections of this package by their columns, and restores their schemas."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import pyarrow as pa
from milvus_lite.adapter.grpc.translators.schema import milvus_to_milvus_lite_schema
from milvus_lite.schema.arrow_builder import build_data_schema
from milvus_lite.schema.types import CollectionSchema
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import schema_pb2

from florence_rag.index.lite.profile import LITE
from florence_rag.index.schema import CollectionSpec, answer_spec, chunk_spec, ledger_spec


@lru_cache(maxsize=16)
def known_schema(name: str, columns: pa.Schema) -> CollectionSchema | None:
    """Return the schema of a collection of this package whose Parquet files have these columns, or None.

    It is the same object for equal arguments, so nobody may change it.
    """
    for spec in _candidates(name, columns):
        message = schema_pb2.CollectionSchema.FromString(Prepare.create_collection_request(name, spec.schema).schema)
        schema = milvus_to_milvus_lite_schema(message)
        schema.fields = [field for field in schema.fields if field.name in columns.names]  # an older version had fewer
        if build_data_schema(schema).equals(columns):
            return schema
    return None


def is_same_schema(one: CollectionSchema, other: CollectionSchema) -> bool:
    """Return whether two schemas agree in everything except the lengths of texts, which no stored row depends on."""
    fields = [[replace(field, max_length=None) for field in schema.fields] for schema in (one, other)]
    return fields[0] == fields[1] and one.functions == other.functions


def _candidates(name: str, columns: pa.Schema) -> Iterator[CollectionSpec]:
    dimension, text_dimension = (_dimension(columns, field) for field in ("vector", "text_vector"))
    if dimension is None:
        return
    yield ledger_spec(name)
    yield answer_spec(name, dimension)
    yield chunk_spec(LITE, name, dimension, LITE.default_index_type, text_dimension)


def _dimension(columns: pa.Schema, field: str) -> int | None:
    found = columns.get_field_index(field)
    kind = columns.field(found).type if found >= 0 else None
    return kind.list_size if isinstance(kind, pa.FixedSizeListType) else None
