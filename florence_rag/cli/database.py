"""`florence-rag info`, `clear-answers`, `export` and `import`: what a database contains, and how it moves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from florence_rag.cli.command import DatabaseCommand
from florence_rag.cli.options import IndexType, check_output_folder
from florence_rag.cli.output import info_to_text, plain, stderr

if TYPE_CHECKING:
    from florence_rag.index.bulk.export import BulkFiles
    from florence_rag.index.milvus import MilvusIndex

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the export.")]
OutputFolder = Annotated[
    Path, typer.Argument(metavar="DIR", callback=check_output_folder, help="The folder of the export.")
]


class Info(DatabaseCommand):
    """Print what a database contains, what failed, and which model filled it."""

    def run(self) -> None:
        from florence_rag.models.registry import CARDS

        with self.open_index() as index:
            about, failures = index.info(), index.failures()
        card = CARDS.get(about.embedder.name)
        extra = {"failed": [asdict(failure) for failure in failures], "training_data": card and card.training_data}
        self.print(about.to_dict() | extra, info_to_text(about, failures, card))


class ClearAnswers(DatabaseCommand):
    """Delete the cached answers of a database. `florence-rag ask --cache-answers` stores them."""

    def run(self) -> None:
        with self.open_index() as index:
            count = index.answer_store().clear()
        self.print({"deleted": count}, plain(f"{count} cached answers deleted"))


class Export(DatabaseCommand):
    """Write a database as Parquet files. `florence-rag import` and Milvus' bulk import read them."""

    folder: OutputFolder
    vector_dtype: Annotated[
        Literal["fp32", "fp16", "bf16"] | None,
        typer.Option(help="The data type of the vectors in the files; by default that of the database."),
    ] = None

    def run(self) -> None:
        from florence_rag.index.bulk.export import export

        with self.open_index() as index:
            files = export(index, self.folder, vector_dtype=self.vector_dtype)
        count = len(files.chunks) + len(files.ledger)
        text = f"{files.rows} chunks of {files.sources} files in {count} Parquet files in {self.folder}"
        self.print(files.to_dict(), plain(text))


class Import(DatabaseCommand):
    """Create a database from an export. It inserts the rows or, with --uploaded, uses Milvus' bulk import."""

    folder: Folder
    uploaded: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX", help="Use Milvus' bulk import; the prefix of the uploaded files in the server's bucket."
        ),
    ] = None
    index_type: IndexType = None

    def run(self) -> None:
        from florence_rag.index.bulk.export import load
        from florence_rag.index.bulk.server_import import import_uploaded

        if self.uploaded is None:
            files = load(self.folder, self._open_new_index)
        else:
            files = import_uploaded(
                self.folder,
                self.db,
                self.uploaded,
                token=self.token,
                collection=self.collection,
                index_type=self.index_type or "HNSW",
                progress=lambda collection, share: stderr().print(plain(f"{collection}: {share:.0%} imported")),
            )
        self.print(files.to_dict(), plain(f"{files.rows} chunks of {files.sources} files are now in {self.db}"))

    def _open_new_index(self, files: BulkFiles) -> MilvusIndex:
        from florence_rag.index.milvus import MilvusIndex

        return MilvusIndex.open(
            self.db,
            files.embedder,
            text_embedder=files.text_embedder,
            token=self.token,
            collection=self.collection,
            index_type=self.index_type,
            vector_dtype=files.vector_dtype if "://" in self.db else None,  # Milvus Lite stores fp32 only
        )
