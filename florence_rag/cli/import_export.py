"""`florence-rag export` and `import`: an index as Parquet files, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from florence_rag.cli.opening import open_index
from florence_rag.cli.options import DEFAULT_DB, AsJson, Database, IndexType, Token, VectorDtype
from florence_rag.cli.output import plain, print_result, stderr

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the export.")]


def export(
    folder: Folder,
    db: Database = DEFAULT_DB,
    vector_dtype: VectorDtype = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Write a database as Parquet files, for `florence-rag import` and for Milvus' bulk import."""
    from florence_rag.index.bulk.export import export as write

    with open_index(db, token) as index:
        files = write(index, folder, vector_dtype=vector_dtype)
    count = len(files.chunks) + len(files.ledger)
    text = f"{files.rows} chunks of {files.sources} files in {count} Parquet files in {folder}"
    print_result(files.to_dict(), plain(text), as_json)


def import_(
    folder: Folder,
    db: Database = DEFAULT_DB,
    uploaded: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX", help="Use Milvus' bulk import; the prefix of the uploaded files in the server's bucket."
        ),
    ] = None,
    index_type: IndexType = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Create a database from an export, by inserting its rows or, with --uploaded, by Milvus' bulk import."""
    from florence_rag.index.bulk.export import BulkFiles, load
    from florence_rag.index.bulk.server_import import import_uploaded
    from florence_rag.index.milvus import MilvusIndex

    def open_new_index(files: BulkFiles) -> MilvusIndex:
        is_file = "://" not in db
        return MilvusIndex.open(
            db,
            files.embedder,
            text_embedder=files.text_embedder,
            token=token,
            index_type=index_type,
            vector_dtype=None if is_file else files.vector_dtype,
        )

    def report(collection: str, share: float) -> None:
        stderr().print(plain(f"{collection}: {share:.0%} imported"))

    if uploaded is None:
        files = load(folder, open_new_index)
    else:
        files = import_uploaded(folder, db, uploaded, token=token, index_type=index_type or "HNSW", progress=report)
    text = f"{files.rows} chunks of {files.sources} files are now in {db}"
    print_result(files.to_dict(), plain(text), as_json)
