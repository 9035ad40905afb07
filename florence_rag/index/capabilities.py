"""Checks what a server can do before an index is created on it."""

from __future__ import annotations

import uuid

from pymilvus import CollectionSchema

from florence_rag.errors import InputError
from florence_rag.index.connection import Connection
from florence_rag.index.index_types import DTYPE_BYTES, VectorDtype, build_params, check_index_type
from florence_rag.index.schema import Table, probe_schema

_DIMENSION = 128


def check_capabilities(connection: Connection, name: str, vectors: VectorDtype) -> None:
    """Raise InputError if this store cannot build the index over vectors of this precision.

    The version of a server does not show whether it was built for GPUs, so the check lets it index an empty collection.
    """
    preset = check_index_type(name, lite=connection.is_lite, version=connection.version)
    if not preset.gpu:
        return
    params = build_params(preset.name, _DIMENSION, DTYPE_BYTES[vectors])
    index = {"index_type": preset.name, "metric_type": "IP", "params": params}
    schema: CollectionSchema = probe_schema(_DIMENSION, vectors)
    problem = connection.indexing_problem(
        Table(f"florence_probe_{uuid.uuid4().hex}", schema, {"vector": index}, "Strong")
    )
    if problem:
        raise InputError(
            f"index type {name!r} needs a Milvus server that was built for GPUs, and a GPU ({problem}); "
            "use HNSW, or a server such as the image milvusdb/milvus:v2.6.4-gpu"
        )
