"""How `florence-rag watch` tells what it does: a line for each file, for a person or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from florence_rag.cli.output import bare_reason, change_to_text, notes, report_to_text, results
from florence_rag.cli.progress import shown_progress

if TYPE_CHECKING:
    from florence_rag.ingest.near_duplicates import NearDuplicates
    from florence_rag.rag import FlorenceRAG
    from florence_rag.types import IndexReport


def watch_and_tell(rag: FlorenceRAG, folders: Sequence[str], near_duplicates: NearDuplicates, *, as_json: bool) -> None:
    """Until it is interrupted. The first line is the sum of what was done to bring the database up to date."""
    with shown_progress() as progress:
        reports = rag.watch(*folders, near_duplicates=near_duplicates, progress=progress)
        first = next(reports)
    if as_json:
        _print({"event": "ready", **first.to_dict()})
    else:
        results().print(report_to_text(first))
        notes().print(f"Watching {', '.join(folders)}. Ctrl-C ends it.", markup=False)
    for report in reports:
        for event, source, detail in _events(report):
            if as_json:
                _print({"event": event, "source": source, **detail})
            else:
                results().print(change_to_text(event, source, "".join(detail.values())))


def _events(report: IndexReport) -> Iterator[tuple[str, str, dict[str, str]]]:
    for change in report.changes:
        yield change.event, change.source, {}
    for failure in report.failed:
        yield "failed", failure.source, {"reason": bare_reason(failure)}
    for each in report.near_duplicates:
        yield "left out", each.source, {"duplicate_of": each.duplicate_of}


def _print(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)
