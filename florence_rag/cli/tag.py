"""`florence-rag tag`: tags by labels and by tagged neighbors, or by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import open_rag
from florence_rag.cli.options import (
    DEFAULT_DB,
    AsJson,
    Database,
    Filter,
    Labels,
    Offline,
    OpenOptions,
    Token,
    parse_labels,
)
from florence_rag.cli.output import plain, print_result, source_to_text
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.tag import Tagged, TagReport


def tag(
    items: Annotated[
        list[str] | None, typer.Argument(metavar="[ITEM...]", help="With --as: the ids or files to tag.")
    ] = None,
    by_hand: Annotated[str | None, typer.Option("--as", metavar="A,B", help="Give the items these tags.")] = None,
    labels: Labels = None,
    threshold: Annotated[
        float, typer.Option(metavar="SHARE", help="The lowest confidence of a tag; below it, an image is unsure.")
    ] = 0.5,
    apply: Annotated[bool, typer.Option("--apply", help="Write the tags into the database.")] = False,
    filter: Filter = None,
    db: Database = DEFAULT_DB,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Tag all images without tags, by labels and by the tags of their neighbors; or tag ITEMs by hand.

    Without --labels, the tags that you gave by hand are the labels.
    """
    from florence_rag.tasks.tag import indexed_ids

    if bool(items) != (by_hand is not None):
        raise InputError("tagging by hand needs both, the items and --as TAGS; tagging all images needs neither")
    with open_rag(OpenOptions(db, token=token, offline=offline)) as rag:
        if items and by_hand is not None:
            names = list(dict.fromkeys(name.strip() for name in by_hand.split(",")))
            ids = indexed_ids(rag.context, items)
            rag.set_tags({id: names for id in ids})
            text = plain(f"{len(ids)} images are tagged {', '.join(names)}")
            print_result({"tagged": ids, "tags": names}, text, as_json)
            return
        report = rag.tag(parse_labels(labels), filter=filter, threshold=threshold, apply=apply)
    print_result(report.to_dict(), _report_to_text(report), as_json)


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
        names = ", ".join(f"{name} {confidence:.2f}" for name, confidence in pairs)
        tags = names if image.tags else f"unsure ({names})"
        yield Text.assemble(source_to_text(image.source), "  ", plain(tags, style))


def _quality_to_text(report: TagReport) -> str:
    quality = report.quality
    if quality is None:
        return "Confidences are not calibrated: that takes more images tagged by hand, with and without each tag."
    return (
        f"Cross-validated on {quality.items} images tagged by hand: precision {quality.precision:.2f}, "
        f"recall {quality.recall:.2f}, calibration error {quality.calibration_error:.3f}"
    )
