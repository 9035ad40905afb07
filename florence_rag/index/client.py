"""A client of Milvus that sends and reads rows in columns, and why an index cannot live on a server."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.client.search_result import HybridHits
from pymilvus.exceptions import ParamError
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.milvus_pb2 import UpsertRequest

from florence_rag.errors import StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.index_types import OLDEST_SERVER
from florence_rag.index.rows import Row
from florence_rag.index.store_errors import STORE_EXCEPTIONS, to_florence_error
from florence_rag.index.store_profile import parse_version

CONNECT_S = 5.0

_SCALARS = {
    DataType.VARCHAR: "string_data",
    DataType.INT64: "long_data",
    DataType.DOUBLE: "double_data",
    DataType.BOOL: "bool_data",
    DataType.JSON: "json_data",
}
_BYTE_VECTORS = {DataType.FLOAT16_VECTOR: "float16_vector", DataType.BFLOAT16_VECTOR: "bfloat16_vector"}


class ColumnClient(MilvusClient):  # type: ignore[misc]
    """A `MilvusClient` that sends the rows of an upsert in columns.

    Milvus reads columns, and pymilvus fills them value by value, which takes longer than the server needs for a row.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._descriptions: dict[str, dict[str, Any]] = {}
        super().__init__(*args, **options)

    def upsert(self, collection_name: str, data: list[Row], timeout: float | None = None) -> None:
        """Write whole rows, which have different ids."""
        if collection_name not in self._descriptions:
            self._descriptions[collection_name] = self.describe_collection(collection_name, timeout=timeout)
        schema = self._descriptions[collection_name]
        self._get_connection().upsert(
            collection_name,
            [],
            timeout=timeout,
            context=self._generate_call_context(),
            schema=schema,
            upsert_param=upsert_request(collection_name, data, schema),
        )

    def drop_collection(self, collection_name: str, **options: Any) -> None:
        """Delete a collection, and forget its fields."""
        self._descriptions.pop(collection_name, None)
        super().drop_collection(collection_name, **options)


def hit_rows(hits: HybridHits) -> list[Row]:
    """Return the hits of one query as rows, each with its id and its distance.

    pymilvus decodes JSON value by value when a hit is read, which takes longer than the rest of an answer.
    """
    columns = [column for column in hits.lazy_field_data if not column.is_dynamic]  # Lite always sends that one
    if any(column.type != DataType.JSON or not all(column.valid_data) for column in columns):
        rows = [hit["entity"] for hit in hits]
    else:
        rows = [hits.get_raw_item(number)["entity"] for number in range(len(hits))]
        for column in columns:
            texts = column.scalars.json_data.data[hits.start : hits.start + len(rows)]
            for row, value in zip(rows, map(msgspec.json.decode, texts), strict=True):
                row[column.field_name] = value
    for row, id, distance in zip(rows, hits.ids, hits.distances, strict=True):
        row |= {"id": id, "distance": distance}
    return rows


def upsert_request(collection: str, rows: Sequence[Row], schema: Mapping[str, Any]) -> UpsertRequest:
    """Return the request that writes rows to a collection with this schema, as Milvus describes it."""
    fields = {field["name"]: field for field in schema["fields"] if not field.get("is_function_output")}
    others = [{name: value for name, value in row.items() if name not in fields} for row in rows]
    request = UpsertRequest(collection_name=collection, num_rows=len(rows))
    request.fields_data.extend(_column(field, rows) for field in fields.values())
    if schema.get("enable_dynamic_field"):
        dynamic = _scalars("$meta", DataType.JSON, others)
        dynamic.is_dynamic = True
        request.fields_data.append(dynamic)
    elif unknown := sorted(set().union(*others)):
        raise ParamError(message=f"the collection {collection!r} has no field {unknown[0]!r}")
    return request


def _column(field: Mapping[str, Any], rows: Sequence[Row]) -> schema_pb2.FieldData:
    """Return the values of a field, of which a nullable one may be missing."""
    name, dtype = field["name"], field["type"]
    if field.get("nullable"):
        values = [row.get(name) for row in rows]
        column = _scalars(name, dtype, [value for value in values if value is not None])
        column.valid_data.extend(value is not None for value in values)
        return column
    try:
        values = [row[name] for row in rows]
    except KeyError as error:
        raise ParamError(message=f"a row has no field {name!r}") from error
    return _scalars(name, dtype, values) if dtype in _SCALARS else _vectors(name, dtype, values)


def _scalars(name: str, dtype: DataType, values: Sequence[Any]) -> schema_pb2.FieldData:
    column = schema_pb2.FieldData(field_name=name, type=dtype)
    encoded = map(msgspec.json.encode, values) if dtype == DataType.JSON else values
    getattr(column.scalars, _SCALARS[dtype]).data.extend(encoded)
    return column


def _vectors(name: str, dtype: DataType, vectors: Sequence[Any]) -> schema_pb2.FieldData:
    column = schema_pb2.FieldData(field_name=name, type=dtype)
    if dtype in _BYTE_VECTORS:
        column.vectors.dim = len(vectors[0]) // 2
        setattr(column.vectors, _BYTE_VECTORS[dtype], b"".join(vectors))
        return column
    matrix = np.asarray(vectors, dtype="<f4")
    column.vectors.dim = matrix.shape[1]
    # A message with packed numbers has the same form as one with their bytes.
    packed = schema_pb2.BytesArray(data=[matrix.tobytes()])
    column.vectors.float_vector.MergeFromString(packed.SerializeToString())
    return column


def connect(address: Address, uri: str, token: str, **options: Any) -> ColumnClient:
    """Return a client of its own for a server, and map the errors of connecting."""
    try:
        return ColumnClient(uri, token=token, timeout=CONNECT_S, dedicated=True, **options)
    except STORE_EXCEPTIONS as error:
        raise to_florence_error(error, str(address)) from error
    except (OSError, ValueError) as error:  # of a URI that no server can have, such as unix:// without a path
        raise StoreUnavailableError(f"{address} is not the address of a reachable server ({error})") from error


def server_problem(version: str) -> str:
    """Return why an index cannot live on a server of this version, or ""."""
    if version.startswith("milvus_lite"):
        return "is a Milvus Lite server, which loses rows when two clients write; open its folder instead"
    if not version:
        return "does not say its version, as a Milvus server does; check the port"
    number = parse_version(version)
    if number and number < OLDEST_SERVER:
        return f"runs Milvus {version}; upgrade it to 2.3 or later, or use a folder such as photos.db"
    return ""
