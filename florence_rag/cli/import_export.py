"""Commands about the store itself: what a size takes, an index as files, and files as an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from florence_rag.cli.estimate_table import scale_to_markdown, scale_to_text
from florence_rag.cli.options import DEFAULT_DB, AsJson, Database, IndexType, Token, VectorNumbers
from florence_rag.cli.output import notes, plain, show
from florence_rag.errors import InputError

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the export.")]


def export(
    folder: Folder,
    db: Database = DEFAULT_DB,
    vector_dtype: VectorNumbers = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Write a database as Parquet files, which `florence-rag import` and Milvus' bulk import take."""
    from florence_rag.index.bulk.export import export as write
    from florence_rag.index.milvus import MilvusIndex

    recorded = MilvusIndex.require_embedders(db, token)
    with MilvusIndex.open(db, recorded[0], token=token, create=False, text_embedder=recorded[1]) as index:
        files = write(index, folder, vector_dtype=vector_dtype)
    count = len(files.chunks) + len(files.ledger)
    show(files.to_dict(), f"{files.rows} chunks of {files.sources} files in {count} Parquet files in {folder}", as_json)


def import_(
    folder: Folder,
    db: Database = DEFAULT_DB,
    uploaded: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Bulk import: where the files lie below the root of the server's bucket."),
    ] = None,
    index_type: IndexType = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Make a new database of an export, by inserting its rows or, with --uploaded, by Milvus' bulk import."""
    from florence_rag.index.bulk.export import load
    from florence_rag.index.bulk.files import BulkFiles
    from florence_rag.index.bulk.server_import import import_uploaded
    from florence_rag.index.milvus import MilvusIndex

    def open_index(files: BulkFiles) -> MilvusIndex:
        lite = "://" not in db
        return MilvusIndex.open(
            db,
            files.embedder,
            text_embedder=files.text_embedder,
            token=token,
            index_type=index_type,
            vector_dtype=None if lite else files.vector_dtype,
        )

    def tell(collection: str, share: float) -> None:
        notes().print(plain(f"{collection}: {share:.0%} imported"))

    if uploaded is None:
        files = load(folder, open_index)
    else:
        files = import_uploaded(folder, db, uploaded, token=token, index_type=index_type or "HNSW", progress=tell)
    show(files.to_dict(), f"{files.rows} chunks of {files.sources} files are now in {db}", as_json)


def estimate(
    images: Annotated[list[float] | None, typer.Option(help="How many; repeat it for several, such as 1e8.")] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another value for a parameter of the model, such as dimension=512."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The tables of docs/scale.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate hours of GPUs, memory, disk and money for so many images, for each kind of index."""
    from florence_rag.index.capacity_estimate import SIZES, Assumptions, filling, serving
    from florence_rag.index.capacity_estimate import assume as assumed

    changes = dict(_pair(text) for text in assume or ())
    given, sizes = assumed(changes, Assumptions()), [_whole(size) for size in images or SIZES]
    if markdown:
        print(scale_to_markdown(sizes, given))
        return
    estimates = [
        {**asdict(filling(size, given)), "indexes": [asdict(each) for each in serving(size, given)]} for size in sizes
    ]
    show({"assumptions": asdict(given), "estimates": estimates}, scale_to_text(sizes, given), as_json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--assume {text!r} has no value; write it as NAME=VALUE, such as dimension=512")
    return name.strip(), value.strip()


def _whole(images: float) -> int:
    if not 1 <= images <= 1e15:
        raise InputError(f"--images {images!r} is no number of images; use 1 to 1e15")
    return int(images)
