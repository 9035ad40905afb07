"""`florence-rag recommend`: more like these, and not like those."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from florence_rag.cli.opening import opened
from florence_rag.cli.options import (
    DEFAULT_DB,
    AsJson,
    Count,
    Database,
    Filter,
    Kinds,
    Offline,
    Token,
    chosen_kinds,
)
from florence_rag.cli.output import hits_to_text, show

WHAT = "An id, a file, or words."


def recommend(
    like: Annotated[list[str], typer.Argument(metavar="LIKE...", help=f"What is liked. {WHAT}")],
    dislike: Annotated[list[str] | None, typer.Option(metavar="ITEM", help=f"Repeat it. {WHAT}")] = None,
    seen: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="Not to be shown again, besides these. Repeat it.")
    ] = None,
    k: Count = 5,
    diversity: Annotated[
        float, typer.Option(metavar="SHARE", help="0: the best alone; 1: as unlike each other as can be.")
    ] = 0.3,
    kind: Kinds = None,
    filter: Filter = None,
    sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", metavar="PNG", help="Also draw the hits as a contact sheet.")
    ] = None,
    db: Database = DEFAULT_DB,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find more of what is liked and less of what is not: new things, varied."""
    from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row

    with opened(db, offline=offline, token=token, create=False) as rag:
        hits = rag.recommend(
            like,
            dislike or (),
            k=k,
            seen=seen or (),
            kinds=chosen_kinds(kind),
            filter=filter,
            diversity=diversity,
        )
        if sheet:
            draw_sheet([hits_to_row(", ".join(like), hits, rag.frames, None)]).save(sheet)
    show({"hits": [hit.to_dict() for hit in hits]}, hits_to_text(hits), as_json)
