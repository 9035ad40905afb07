"""`florence-rag tag`: tags by labels and by tagged neighbors, or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.command import RAGCommand
from florence_rag.cli.options import Filter, Labels, parse_labels
from florence_rag.cli.output import plain, source_to_text
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG
    from florence_rag.tasks.tag import TagReport


class Tag(RAGCommand):
    """Tag images by labels and by the tags of their neighbors, or by hand.

    Without ITEMs, all images without tags are tagged. Without --labels, the tags that you gave by hand are the labels.
    """

    items: Annotated[
        list[str] | None, typer.Argument(metavar="[ITEM...]", help="With --as: the ids or files to tag.")
    ] = None
    by_hand: Annotated[str | None, typer.Option("--as", metavar="A,B", help="Give the items these tags.")] = None
    labels: Labels = None
    threshold: Annotated[
        float, typer.Option(metavar="SHARE", help="The lowest confidence of a tag; below it, an image is unsure.")
    ] = 0.5
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the tags into the database, if enough images are tagged by hand.")
    ] = False
    filter: Filter = None

    def run(self) -> None:
        if bool(self.items) != (self.by_hand is not None):
            raise InputError("tagging by hand needs both, the items and --as TAGS; tagging all images needs neither")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold:g}; it must lie between 0 and 1")
        labels = parse_labels(self.labels)
        with self.open_rag() as rag:
            if self.items and self.by_hand is not None:
                self._tag_by_hand(rag, self.items, self.by_hand.split(","))
            else:
                report = rag.tag(labels, filter=self.filter, threshold=self.threshold, apply=self.apply)
                self.print(report.to_dict(), _report_to_text(report, self.apply))

    def _tag_by_hand(self, rag: FlorenceRAG, items: Sequence[str], names: Sequence[str]) -> None:
        from florence_rag.tasks.tag import indexed_ids

        tags, ids = list(dict.fromkeys(name.strip() for name in names)), indexed_ids(rag.context, items)
        rag.set_tags({id: tags for id in ids})
        self.print({"tagged": ids, "tags": tags}, plain(f"{len(ids)} images are tagged {', '.join(tags)}"))


def _report_to_text(report: TagReport, apply: bool) -> RenderableType:
    from florence_rag.tasks.tag import MIN_TAGGED

    lines = []
    for image in report.images:
        style, pairs = ("green", image.tags) if image.tags else ("yellow", image.candidates[:1])
        names = ", ".join(f"{name} {confidence:.2f}" for name, confidence in pairs)
        tags = plain(names if image.tags else f"unsure ({names})", style)
        lines.append(Text.assemble(source_to_text(image.source), "  ", tags))
    sure = sum(not image.is_unsure for image in report.images)
    hint = "no tag is written before the confidences are calibrated" if apply else "not written: --apply does that"
    written = "written" if report.applied else hint
    counts = f"{sure} tagged, {len(report.images) - sure} unsure, {report.tagged} by hand; {written}"
    counts += f"; {report.deleted} left out, because they were deleted meanwhile" if report.deleted else ""
    note = (
        f"Confidences are not calibrated: tag images by hand with --as, at least {MIN_TAGGED} and usually a few more, "
        "some with and some without each tag."
    )
    if quality := report.quality:
        note = (
            f"Cross-validated on {quality.items} images tagged by hand: precision {quality.precision:.2f}, "
            f"recall {quality.recall:.2f}, calibration error {quality.calibration_error:.3f}"
        )
    return Group(*lines, plain(counts, "bold"), plain(note, "dim"))
