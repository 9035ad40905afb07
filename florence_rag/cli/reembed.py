"""`florence-rag reembed`: moves a database to another embedder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import load_for_command, model_options, open_index
from florence_rag.cli.options import DEFAULT_DB, AsJson, Backend, Database, Offline, Precision, Token
from florence_rag.cli.output import failed_to_text, plain, print_result
from florence_rag.cli.progress import show_progress
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.reembed.compare_embedders import Comparison
    from florence_rag.reembed.reembedding import ReembedReport


def reembed(
    to: Annotated[str | None, typer.Option(metavar="NAME", help="The new embedder.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Drop the vectors of an unfinished move; the database stays as it is.")
    ] = False,
    db: Database = DEFAULT_DB,
    queries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare the embedders on these queries, one per line, not on a sample."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="The number of results to compare.")] = 10,
    switch: Annotated[
        bool, typer.Option(help="Use the new vectors when they are complete; otherwise only store them.")
    ] = True,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Switch even if some files can no longer be read.")
    ] = False,
    precision: Precision = None,
    backend: Backend = "torch",
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Move a database to another embedder while it is searched. Run it again to continue after an interruption."""
    if (to is None) != rollback:
        raise typer.BadParameter("say either --to NAME or --rollback")
    if to is None:
        name = _drop_shadow(db, token)
        text = plain(f"Dropped the vectors of {name}; the database stays as it is.")
        print_result({"rolled_back": name}, text, as_json)
        return
    from florence_rag.index.address import image_folder
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.rag import FlorenceRAG
    from florence_rag.reembed.reembedding import Reembedding

    options = model_options(offline, precision, backend)
    recorded, _ = MilvusIndex.require_embedders(db, token)
    embedder = load_for_command(EMBEDDER, to, options)
    old = load_for_command(EMBEDDER, recorded.name, options) if queries else None  # it may be a service that is gone
    with open_index(db, token) as index, show_progress() as progress:
        images = image_folder(db, index.info().collection)
        move = Reembedding(FlorenceRAG(index, embedder, images=images).context, embedder, progress=progress)
        move.fill()
        comparison = move.compare(old, queries.read_text("utf-8").splitlines() if queries else None, k=k)
        if switch:
            move.switch(unreadable="fail" if skip_unreadable else "block")
        report = move.report()
    record = {**report.to_dict(), "overlap": comparison.to_dict()}
    print_result(record, _report_to_text(report, comparison), as_json)


def _drop_shadow(db: str, token: str | None) -> str:
    """Drop the vectors of an unfinished move, and return the name of their model."""
    with open_index(db, token) as index:
        if index.shadow_embedder is None:
            raise InputError(f"{db!r} is not being moved to another model: there is nothing to roll back")
        name = index.shadow_embedder.name
        index.drop_shadow()
    return name


def _report_to_text(report: ReembedReport, comparison: Comparison) -> RenderableType:
    count, percent = len(comparison.queries), f"{comparison.mean:.0%}"
    return Group(
        failed_to_text(report.skipped),
        Text(f"{report.sources} of {report.total} files, {report.chunks} chunks embedded by {report.model}", "bold"),
        Text(f"{percent} of {comparison.k} results are the same, in the mean of {count} queries"),
        Text(f"{'It uses' if report.switched else 'It can switch to'} the new vectors."),
    )
