"""Exports an index to Parquet files in the layout that Milvus' bulk import reads, and loads them through inserts.

    folder/chunks/00000.parquet ...   the rows of the collection of chunks, by its schema
    folder/ledger/00000.parquet ...   the rows of the ledger
    folder/index.json                 the embedders, and the number of rows

The layout is that of pymilvus' BulkWriter: JSON as text, vectors as lists of floats, vectors of half precision as
lists of bytes, and no column for fields that the server computes itself.
"""

import itertools
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import numpy as np
from pymilvus import CollectionSchema, DataType

from florence_rag.errors import InputError, MissingExtraError, StoreCorruptError, mapped_write_errors
from florence_rag.index.checksum import CHECKSUM, DAMAGED, VECTOR_FIELDS, row_checksum, verify
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.ledger import Settings, read_record
from florence_rag.index.migrations import OLDEST, check_version, installed_version
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.records import FAULTS, describe, parse
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import Row
from florence_rag.index.schema import VERSION, chunk_spec, ledger_spec
from florence_rag.index.store_profile import SERVER
from florence_rag.types import EmbedderInfo

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("pyarrow", "bulk") from error

ROWS_PER_FILE = 100_000
_GROUP_BYTES = 32 * 2**20  # as pymilvus writes, so that the server reads with little memory
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


_Name = Annotated[str, msgspec.Meta(pattern=r"^(chunks|ledger)/\d+\.parquet$")]  # no path that leads elsewhere


@dataclass(frozen=True, slots=True)
class BulkFiles:
    """An exported index.

    chunks, ledger: paths of the files relative to the folder. rows: number of rows in all files of chunks. version: of
    the schema; rows have checksums since version 3. written_by: the version of the package that wrote the files.
    """

    embedder: EmbedderInfo
    text_embedder: EmbedderInfo | None
    vector_dtype: VectorDtype
    rows: int
    sources: int
    chunks: tuple[_Name, ...]
    ledger: tuple[_Name, ...]
    version: int = VERSION
    written_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)


def read_manifest(folder: Path) -> BulkFiles:
    """Read the manifest of a folder, or raise InputError if no export has finished there."""
    try:
        record = {"version": OLDEST} | parse((folder / _MANIFEST).read_text("utf-8"), dict[str, Any])
        check_version(record["version"], record.get("written_by", ""), f"the export {str(folder)!r}")
        return msgspec.convert(record, BulkFiles)
    except (OSError, *FAULTS) as error:
        problem = f"{str(folder)!r} contains no export ({describe(error)})"
        raise InputError(f"{problem}; create it with: florence-rag export DIR") from error


def export(
    index: MilvusIndex, folder: Path, *, vector_dtype: VectorDtype | None = None, rows_per_file: int = ROWS_PER_FILE
) -> BulkFiles:
    """Write all complete sources of an index into a new folder.

    vector_dtype: precision of the collection that the files are for; the default is that of the index.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"the folder {str(folder)!r} is not empty; give a new one")
    try:
        with mapped_write_errors(folder):
            return _write(index.chunks, index.sources(), folder, vector_dtype, rows_per_file)
    except BaseException:
        for part in ("chunks", "ledger"):
            shutil.rmtree(folder / part, ignore_errors=True)
        raise


def _write(
    chunks: ChunkCollection,
    sources: Collection[str],
    folder: Path,
    vector_dtype: VectorDtype | None,
    rows_per_file: int,
) -> BulkFiles:
    codec = RowCodec(vector_dtype or chunks.codec.dtype)
    width = chunks.text_dimension
    spec = chunk_spec(SERVER, "chunks", chunks.embedder.dimension, "FLAT", width, vector_dtype=codec.dtype)
    rows = chunks.whole_rows_of_sources(sources)
    names, count = write_rows(folder, "chunks", spec.schema, rows, codec, rows_per_file)
    settings = Settings(chunks.embedder, text_embedder=chunks.text_embedder, vector_dtype=codec.dtype)
    entries, schema = chunks.ledger.settled_rows(settings), ledger_spec("ledger").schema
    ledger, entry_count = write_rows(folder, "ledger", schema, entries, RowCodec(), rows_per_file)
    files = BulkFiles(
        chunks.embedder,
        chunks.text_embedder,
        codec.dtype,
        count,
        entry_count - 1,
        names,
        ledger,
        written_by=installed_version(),
    )
    (folder / _MANIFEST).write_text(json.dumps(files.to_dict(), indent=1), "utf-8")  # only a finished export has one
    return files


def load(folder: Path, open_index: Callable[[BulkFiles], MilvusIndex]) -> BulkFiles:
    """Load exported files into an empty index through inserts, which Milvus Lite and small servers need.

    open_index: opens the index for the embedders of the files.
    """
    files = read_manifest(folder)
    with open_index(files) as index:
        if index.sources() or index.failures():
            raise InputError("an export can only be loaded into a new index; name another database or collection")
        found = index.load_rows(read_rows(folder, files.chunks, RowCodec(files.vector_dtype)))
        if found != files.rows:
            raise StoreCorruptError(f"{str(folder)!r} has {found} chunks, not {files.rows}; export it again")
        index.chunks.ledger.load(read_rows(folder, files.ledger, RowCodec()))
    return files


def arrow_schema(schema: CollectionSchema) -> pa.Schema:
    """Return the columns of a Parquet file for a collection."""
    outputs = {name for function in schema.functions for name in function.output_field_names}
    fields = (field for field in schema.fields if not field.is_function_output and field.name not in outputs)
    return pa.schema([pa.field(field.name, _TYPES[field.dtype], nullable=field.nullable) for field in fields])


def write_rows(
    folder: Path, part: str, schema: CollectionSchema, rows: Iterator[Row], codec: RowCodec, rows_per_file: int
) -> tuple[tuple[str, ...], int]:
    """Write rows to files in folder/part, and return the paths of the files and the number of rows."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    columns, total = arrow_schema(schema), 0
    names: list[str] = []
    while some := list(itertools.islice(rows, rows_per_file)):
        table = pa.Table.from_pylist([row_to_columns(row, columns, codec) for row in some], columns)
        names.append(f"{part}/{len(names):05}.parquet")
        per_group = max(1000, _GROUP_BYTES * len(some) // max(table.nbytes, 1))
        pq.write_table(table, folder / names[-1], row_group_size=per_group)
        total += len(some)
    return tuple(names), total


def read_rows(folder: Path, names: Iterable[str], codec: RowCodec) -> Iterator[Row]:
    """Iterate over the rows of files in a folder, with vectors in float32."""
    for name in names:
        try:
            file = pq.ParquetFile(folder / name)
            for group in range(file.num_row_groups):
                yield from [_columns_to_row(row, codec) for row in file.read_row_group(group).to_pylist()]
        except (OSError, *FAULTS) as error:  # those of pyarrow are ValueErrors
            problem = f"{str(folder / name)!r} is damaged ({describe(error)})"
            raise StoreCorruptError(f"{problem}; export the database again") from error


def row_to_columns(row: Row, columns: pa.Schema, codec: RowCodec) -> Row:
    """Return a row as a file holds it."""
    row = row | {name: codec.to_dtype(row[name]) for name in VECTOR_FIELDS if name in row}
    if CHECKSUM in columns.names:
        row[CHECKSUM] = row_checksum(row)
    values = {name: row[name] for name in columns.names}
    for name, value in values.items():
        if isinstance(value, Mapping):
            values[name] = json.dumps(value)
        elif name in VECTOR_FIELDS and codec.dtype != "fp32":
            values[name] = value.view(np.uint8)
    return values


def _columns_to_row(row: Row, codec: RowCodec) -> Row:
    if "state" in row:  # of the ledger
        read_record(row)
    vectors = {name: row[name] for name in VECTOR_FIELDS if name in row}
    if codec.dtype != "fp32":
        vectors = {name: bytes(value) for name, value in vectors.items()}
    documents = {name: json.loads(row[name]) for name in ("locator", "metadata") if name in row}
    whole = row | documents | {name: codec.decode_vector(value) for name, value in vectors.items()}
    if verify(whole) in DAMAGED:
        raise ValueError(f"the checksum of {row['id']!r:.80} does not fit")
    return {name: value for name, value in whole.items() if name != CHECKSUM}
