"""`florence-rag tag`: tags by labels and by what is tagged already, or by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import opened
from florence_rag.cli.options import DEFAULT_DB, AsJson, Database, Filter, Offline, Token
from florence_rag.cli.output import place, plain, show
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.tag import Tagged, TagReport


def tag(
    items: Annotated[
        list[str] | None, typer.Argument(metavar="[ITEM...]", help="With --as: ids or files that get these tags.")
    ] = None,
    by_hand: Annotated[str | None, typer.Option("--as", metavar="A,B", help="Tag the items so, by hand.")] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The tags to choose from; by default all given by hand.")
    ] = None,
    threshold: Annotated[float, typer.Option(metavar="SHARE", help="Below this confidence no tag is given.")] = 0.5,
    apply: Annotated[bool, typer.Option("--apply", help="Write the tags into the database.")] = False,
    filter: Filter = None,
    db: Database = DEFAULT_DB,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Tag all images that nobody has tagged, by labels and by the tags of their neighbours; or ITEMs by hand."""
    from florence_rag.tasks.tag import indexed_ids

    if bool(items) != (by_hand is not None):
        raise InputError("tagging by hand needs both, the items and --as TAGS; tagging all images needs neither")
    with opened(db, offline=offline, token=token, create=False) as rag:
        if items and by_hand is not None:
            names = list(dict.fromkeys(name.strip() for name in by_hand.split(",")))
            ids = indexed_ids(rag.context, items)
            rag.set_tags({id: names for id in ids})
            show({"tagged": ids, "tags": names}, plain(f"{len(ids)} images are tagged {', '.join(names)}"), as_json)
            return
        report = rag.tag(None if labels is None else labels.split(","), filter=filter, threshold=threshold, apply=apply)
    show(report.to_dict(), _report_to_text(report), as_json)


def _report_to_text(report: TagReport) -> RenderableType:
    sure = sum(not image.is_unsure for image in report.images)
    written = "written" if report.applied else "not written: --apply does that"
    return Group(
        *_lines(report.images),
        plain(f"{sure} tagged, {len(report.images) - sure} unsure, {report.tagged} by hand; {written}", "bold"),
        plain(_quality_to_text(report), "dim"),
    )


def _lines(images: tuple[Tagged, ...]) -> Iterator[Text]:
    for image in images:
        style, pairs = ("green", image.tags) if image.tags else ("yellow", image.candidates[:1])
        said = ", ".join(f"{name} {share:.2f}" for name, share in pairs)
        yield Text.assemble(place(image.source), "  ", plain(said if image.tags else f"unsure ({said})", style))


def _quality_to_text(report: TagReport) -> str:
    quality = report.quality
    if quality is None:
        return "Confidences are not calibrated: that takes more images that are tagged by hand, with and without each."
    return (
        f"On {quality.items} images tagged by hand, each left out in turn: precision {quality.precision:.2f}, "
        f"recall {quality.recall:.2f}, calibration error {quality.calibration_error:.3f}"
    )
