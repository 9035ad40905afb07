"""Writes an index to Parquet files, and loads them into an empty index through inserts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from florence_rag.errors import InputError, StoreCorruptError
from florence_rag.index.bulk.files import ROWS_PER_FILE, BulkFiles, read_manifest, read_rows, write_rows
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.ledger import Settings
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.schema import chunk_table, ledger_table
from florence_rag.index.store_profile import SERVER


def export(
    index: MilvusIndex, folder: Path, *, vector_dtype: VectorDtype | None = None, rows_per_file: int = ROWS_PER_FILE
) -> BulkFiles:
    """Write all complete sources of an index into a new folder.

    vector_dtype: precision of the collection that the files are for; the default is that of the index.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"the folder {str(folder)!r} is not empty; name a new one")
    chunks = index.chunks
    codec = RowCodec(vector_dtype or chunks.codec.dtype)
    width = chunks.text_dimension
    table = chunk_table(SERVER, "chunks", chunks.embedder.dimension, "FLAT", width, vector_dtype=codec.dtype)
    rows = chunks.whole_rows_of_sources(index.sources())
    names, count = write_rows(folder, "chunks", table.schema, rows, codec, rows_per_file)
    settings = Settings(chunks.embedder, text_embedder=chunks.text_embedder, vector_dtype=codec.dtype)
    entries, schema = chunks.ledger.settled_rows(settings), ledger_table("ledger").schema
    ledger, sources = write_rows(folder, "ledger", schema, entries, RowCodec(), rows_per_file)
    files = BulkFiles(chunks.embedder, chunks.text_embedder, codec.dtype, count, sources - 1, names, ledger)
    files.write_manifest(folder)
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
