"""`florence-rag reembed`: moves a database to another embedder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.command import EmbeddingCommand
from florence_rag.cli.index import read_list
from florence_rag.cli.output import failed_to_text, plain
from florence_rag.cli.progress import show_progress
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.reembed import Comparison, ReembedReport


class Reembed(EmbeddingCommand):
    """Move a database to another embedder while it is searched. Run it again to continue after an interruption."""

    to: Annotated[str | None, typer.Option(metavar="NAME", help="The new embedder.")] = None
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Drop the vectors of an unfinished move; the database stays as it is.")
    ] = False
    queries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare the embedders on these queries, one per line, not on a sample."),
    ] = None
    k: Annotated[int, typer.Option("-k", min=1, help="The number of results to compare.")] = 10
    switch: Annotated[
        bool, typer.Option(help="Use the new vectors when they are complete; otherwise only store them.")
    ] = True
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Switch even if some files can no longer be read.")
    ] = False

    def run(self) -> None:
        if (self.to is None) != self.rollback:
            raise typer.BadParameter("give either --to NAME or --rollback")
        if self.to is None:
            self._drop_shadow()
        else:
            self._move_to(self.to)

    def _drop_shadow(self) -> None:
        with self.open_index() as index:
            if index.shadow_embedder is None:
                raise InputError(f"{self.db!r} is not being moved to another model: there is nothing to roll back")
            name = index.shadow_embedder.name
            index.drop_shadow()
        self.print({"rolled_back": name}, plain(f"Dropped the vectors of {name}; the database stays as it is."))

    def _move_to(self, to: str) -> None:
        from florence_rag.index.address import image_folder
        from florence_rag.index.milvus import MilvusIndex
        from florence_rag.loading.database import check_recorded
        from florence_rag.loading.loaders import EMBEDDER
        from florence_rag.rag import FlorenceRAG
        from florence_rag.reembed import Reembedding

        recorded, _ = MilvusIndex.require_embedders(self.db, self.token)
        queries = read_list(self.queries) or None
        embedder = self.load(EMBEDDER, to)
        advice = "compare without --queries"
        name = check_recorded(recorded.name, self.db, advice=advice) if queries else None  # it may be gone
        old = self.load(EMBEDDER, name) if name else None
        with self.open_index() as index, show_progress() as progress:
            images = image_folder(self.db, index.info().collection)
            move = Reembedding(FlorenceRAG(index, embedder, images=images).context, embedder, progress=progress)
            move.fill()
            comparison = move.compare(old, queries, k=self.k)
            if self.switch:
                move.switch(unreadable="fail" if self.skip_unreadable else "block")
            report = move.report()
        self.print({**report.to_dict(), "overlap": comparison.to_dict()}, _report_to_text(report, comparison))


def _report_to_text(report: ReembedReport, comparison: Comparison) -> RenderableType:
    count, percent = len(comparison.queries), f"{comparison.mean:.0%}"
    return Group(
        failed_to_text(report.failed),
        Text(f"{report.sources} of {report.total} files, {report.chunks} chunks embedded by {report.model}", "bold"),
        Text(f"mean overlap@{comparison.k}: {percent} ({count} queries)"),
        Text(f"{'It uses' if report.switched else 'It can switch to'} the new vectors."),
    )
