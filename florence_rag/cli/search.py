"""`florence-rag search`, `moments` and `recommend`: commands that print hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import open_rag
from florence_rag.cli.options import (
    DEFAULT_DB,
    AsJson,
    Box,
    ContactSheet,
    Count,
    Database,
    Filter,
    ImageFile,
    Kinds,
    Model,
    Offline,
    OpenOptions,
    Reranker,
    Token,
    parse_box,
    parse_kinds,
)
from florence_rag.cli.output import hits_to_text, plain, print_result, source_to_text


def search(
    text: Annotated[str | None, typer.Argument(help="A description of what you are looking for.")] = None,
    image: ImageFile = None,
    box: Box = None,
    k: Count = 5,
    kind: Kinds = None,
    filter: Filter = None,
    contact_sheet: ContactSheet = None,
    reranker: Reranker = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find images, clips, pages and passages by a text, by an image, or by both together."""
    from florence_rag.chunking import read_image
    from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row

    with open_rag(OpenOptions(db, model, token=token, offline=offline, reranker=reranker)) as rag:
        frame = read_image(image) if image else None
        hits = rag.search(text, image=frame, box=parse_box(box), k=k, kinds=parse_kinds(kind), filter=filter)
        if contact_sheet:
            draw_sheet([hits_to_row(text or str(image), hits, rag.frames, frame)]).save(contact_sheet)
    print_result({"hits": [hit.to_dict() for hit in hits]}, hits_to_text(hits), as_json)


def moments(
    text: Annotated[str, typer.Argument(help="A description of what happens, or of what is seen or heard.")],
    k: Count = 5,
    filter: Filter = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find when something happens in videos, with start, end, and a link that opens the video there."""
    from florence_rag.tools.find_video_moment import hit_to_moment

    with open_rag(OpenOptions(db, model, token=token, offline=offline)) as rag:
        found = [hit_to_moment(hit) for hit in rag.find_moments(text, k, filter=filter)]
    print_result({"moments": found}, _moments_to_text(found), as_json)


def _moments_to_text(records: Iterable[Mapping[str, Any]]) -> RenderableType:
    blocks = [_moment_to_text(record, rank) for rank, record in enumerate(records, start=1)]
    return Group(*blocks) if blocks else Text("No moment found; are there videos in the database?", "yellow")


def _moment_to_text(record: Mapping[str, Any], rank: int) -> RenderableType:
    start, end = (f"{record[name] or 0.0:.1f}" for name in ("start_s", "end_s"))
    head = Text.assemble(plain(f"{rank:>2}. [{start} s, {end} s]  ", "bold"), source_to_text(record["source"]))
    details = (" ".join(record["text"].split()), record["link"], record["explanation"])
    return Group(head, *(plain(f"     {line:.200}", "dim") for line in details if line))


def recommend(
    like: Annotated[
        list[str], typer.Argument(metavar="LIKE...", help="What you like: ids of chunks, files, or descriptions.")
    ],
    dislike: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="What you dislike: an id, a file or a text. Repeatable.")
    ] = None,
    seen: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="What not to recommend again. Repeatable.")
    ] = None,
    k: Count = 5,
    diversity: Annotated[
        float, typer.Option(metavar="SHARE", help="From 0, the best hits alone, to 1, the most varied hits.")
    ] = 0.3,
    kind: Kinds = None,
    filter: Filter = None,
    contact_sheet: ContactSheet = None,
    db: Database = DEFAULT_DB,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Recommend varied new hits by examples of what you like and dislike."""
    from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row

    with open_rag(OpenOptions(db, token=token, offline=offline)) as rag:
        hits = rag.recommend(
            like,
            dislike or (),
            k=k,
            seen=seen or (),
            kinds=parse_kinds(kind),
            filter=filter,
            diversity=diversity,
        )
        if contact_sheet:
            draw_sheet([hits_to_row(", ".join(like), hits, rag.frames, None)]).save(contact_sheet)
    print_result({"hits": [hit.to_dict() for hit in hits]}, hits_to_text(hits), as_json)
