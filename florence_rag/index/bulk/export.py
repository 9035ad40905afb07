"""An index as Parquet files, in the layout that Milvus' bulk import takes, and back.

    folder/chunks/00000.parquet ...   the rows of the collection of chunks, by its schema
    folder/ledger/00000.parquet ...   those of the ledger
    folder/index.json                 who filled it, and how many rows there must be

The layout is that of pymilvus' BulkWriter: JSON as text, vectors as lists of numbers, those of half precision as lists
of bytes, and no column for what the server computes itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType

from florence_rag.errors import InputError, MissingExtraError, StoreCorruptError
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import VECTOR_FIELDS, RowCodec
from florence_rag.index.rows import Row
from florence_rag.index.schema import chunk_table, ledger_table
from florence_rag.types import EmbedderInfo

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("pyarrow", "bulk") from error

_ROWS_PER_FILE = 100_000
_GROUP_BYTES = 32 * 2**20  # what pymilvus writes, so that the server reads with little memory
_MANIFEST = "index.json"

_TYPES: Mapping[DataType, pa.DataType] = MappingProxyType(
    {
        DataType.BOOL: pa.bool_(),
        DataType.INT64: pa.int64(),
        DataType.DOUBLE: pa.float64(),
        DataType.VARCHAR: pa.string(),
        DataType.JSON: pa.string(),
        DataType.FLOAT_VECTOR: pa.list_(pa.float32()),
        DataType.FLOAT16_VECTOR: pa.list_(pa.uint8()),
        DataType.BFLOAT16_VECTOR: pa.list_(pa.uint8()),
    }
)


@dataclass(frozen=True, slots=True)
class BulkFiles:
    """An exported index. chunks, ledger: the files, from the folder on. rows: of all files of chunks."""

    embedder: EmbedderInfo
    text_embedder: EmbedderInfo | None
    vector_dtype: VectorDtype
    rows: int
    sources: int
    chunks: tuple[str, ...]
    ledger: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def arrow_schema(schema: CollectionSchema) -> pa.Schema:
    """The columns of a Parquet file for a collection."""
    fields = (field for field in schema.fields if not field.is_function_output and field.name not in _outputs(schema))
    return pa.schema([pa.field(field.name, _TYPES[field.dtype], nullable=field.nullable) for field in fields])


def export(
    index: MilvusIndex, folder: Path, *, vector_dtype: VectorDtype | None = None, rows_per_file: int = _ROWS_PER_FILE
) -> BulkFiles:
    """Write all complete sources of the index into a new folder.

    vector_dtype: the precision of the collection that the files are for; by default that of the index.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"the folder {str(folder)!r} is not empty; name a new one")
    form = RowCodec(vector_dtype or index.vector_dtype)
    width = index.text_embedder.dimension if index.text_embedder else None
    table = chunk_table("chunks", index.embedder.dimension, "FLAT", width, vector_dtype=form.dtype, lite=False)
    names, rows = _write(folder, "chunks", table.schema, index.stored_rows(), form, rows_per_file)
    entries = index.ledger_rows(form.dtype)
    ledger, sources = _write(folder, "ledger", ledger_table("ledger").schema, entries, RowCodec(), rows_per_file)
    files = BulkFiles(index.embedder, index.text_embedder, form.dtype, rows, sources - 1, names, ledger)
    (folder / _MANIFEST).write_text(json.dumps(files.to_dict(), indent=1), "utf-8")
    return files


def exported(folder: Path) -> BulkFiles:
    """What a folder holds; InputError for a folder that `export` has not finished."""
    try:
        record = json.loads((folder / _MANIFEST).read_text("utf-8"))
        embedders = {name: EmbedderInfo(**record[name]) for name in ("embedder", "text_embedder") if record[name]}
        lists = {name: tuple(record[name]) for name in ("chunks", "ledger")}
        return BulkFiles(**{**record, **embedders, **lists})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(folder)!r} holds no exported index; make one with: florence-rag export DIR") from error


def load(folder: Path, open_index: Callable[[BulkFiles], MilvusIndex]) -> BulkFiles:
    """Put the files of a folder into an empty index, through inserts, as Milvus Lite and small servers need it.

    open_index: opens it for the embedders of the files.
    """
    files = exported(folder)
    with open_index(files) as index:
        if index.sources() or index.failures():
            raise InputError("an export can only be loaded into a new index; name another database or collection")
        found = index.load_rows(_rows(folder, files.chunks))
        if found != files.rows:
            raise StoreCorruptError(f"{str(folder)!r} has {found} chunks, not {files.rows}; export it again")
        index.load_ledger_rows(_rows(folder, files.ledger))
    return files


def _outputs(schema: CollectionSchema) -> set[str]:
    return {name for function in schema.functions for name in function.output_field_names}


def _write(
    folder: Path, part: str, schema: CollectionSchema, rows: Iterator[Row], form: RowCodec, rows_per_file: int
) -> tuple[tuple[str, ...], int]:
    """The files that were written, and how many rows they hold."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    columns, total = arrow_schema(schema), 0
    names: list[str] = []
    while some := list(itertools.islice(rows, rows_per_file)):
        table = pa.Table.from_pylist([to_columns(row, columns, form) for row in some], columns)
        names.append(f"{part}/{len(names):05}.parquet")
        per_group = max(1000, _GROUP_BYTES * len(some) // max(table.nbytes, 1))
        pq.write_table(table, folder / names[-1], row_group_size=per_group)
        total += len(some)
    return tuple(names), total


def to_columns(row: Row, columns: pa.Schema, form: RowCodec) -> Row:
    """A row as a file holds it."""
    return {name: _to_column(name, row[name], form) for name in columns.names}


def _to_column(name: str, value: Any, form: RowCodec) -> Any:
    if isinstance(value, Mapping):
        return json.dumps(value)
    if name not in VECTOR_FIELDS:
        return value
    rounded = form.to_dtype(value)
    return rounded if form.dtype == "fp32" else rounded.view(np.uint8)


def _rows(folder: Path, names: Iterable[str]) -> Iterator[Row]:
    """The rows of the files, as the store is given them, vectors in float32."""
    form = RowCodec(exported(folder).vector_dtype)
    for name in names:
        file = pq.ParquetFile(folder / name)
        part_form = form if name.startswith("chunks/") else RowCodec()
        for group in range(file.num_row_groups):
            yield from (_from_columns(row, part_form) for row in file.read_row_group(group).to_pylist())


def _from_columns(row: Row, form: RowCodec) -> Row:
    vectors = {name: row[name] for name in VECTOR_FIELDS if name in row}
    if form.dtype != "fp32":
        vectors = {name: bytes(value) for name, value in vectors.items()}
    documents = {name: json.loads(row[name]) for name in ("locator", "metadata") if name in row}
    return row | documents | {name: form.decode_vector(value) for name, value in vectors.items()}
