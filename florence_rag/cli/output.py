"""Prints results: for a person as text on a terminal, for a program as one line of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from florence_rag.skip_counts import counts_to_line

if TYPE_CHECKING:
    from florence_rag.index.base import IndexInfo
    from florence_rag.index_report import IndexReport
    from florence_rag.models.registry import ModelCard
    from florence_rag.types import Answer, CheckedClaim, Citation, Failure, Hit, Locator

MAX_CONTENT = 200
"""Characters of a hit's content in a list of hits."""
MAX_CANDIDATE = 60
"""Characters of another candidate for an answer, which may be a whole passage."""


def stdout() -> Console:
    """Return a console on standard output. It never breaks lines, so that paths can be copied and searched for."""
    return Console(soft_wrap=True, highlight=False)


def stderr() -> Console:
    """Return a console on standard error, for progress and errors."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def print_result(record: Mapping[str, Any], text: RenderableType, as_json: bool) -> None:
    """Print the record as one line of ASCII, which every pipe can carry, or the text for a person."""
    if as_json:
        print(json.dumps(record), flush=True)
    else:
        stdout().print(text)


def plain(text: str, style: str = "") -> Text:
    """Return text from a file without markup, terminal control codes, or characters that cannot be written."""
    writable = text.encode("utf-8", "backslashreplace").decode()
    return Text("".join(c if c.isprintable() or c == "\n" else " " for c in writable), style)


def source_to_text(source: str, locator: Locator | None = None) -> Text:
    """Return a source and a place in it, as a link, and as a relative path if that is shorter."""
    path = Path(source)
    name = min(source, os.path.relpath(source), key=len) if path.is_absolute() else source
    text = plain(name.replace("\n", " "), "cyan")
    if path.is_absolute():
        text.stylize(f"link {path.as_uri()}")
    position = str(locator or "")
    return Text.assemble(text, f", {position}" if position else "")


def report_to_text(report: IndexReport, *, list_skipped: bool = False) -> RenderableType:
    """Return the failed files with reasons, then the counts, and what was skipped."""
    counts = {name: getattr(report, name) for name in ("added", "updated", "unchanged", "removed")}
    counts["failed"] = len(report.failed)
    if report.near_duplicates:
        counts["near-duplicates"] = len(report.near_duplicates)
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    pending = f"the words of {report.words_pending} files are still to be read" if report.words_pending else ""
    notes = "".join(f"; {note}" for note in (counts_to_line(report.skipped_counts), pending) if note)
    line = Text.assemble((summary, "bold"), plain(notes))
    listed = skipped_to_text(report) if list_skipped else Group()
    return Group(listed, failed_to_text(report.failed), line)


def skipped_to_text(report: IndexReport) -> RenderableType:
    """Return one line per skipped file or part of a file."""
    lines = [change_to_text("skipped", each.source, each.reason, each.locator) for each in report.skipped]
    if more := sum(report.skipped_counts.values()) - len(lines):
        lines.append(Text(f"and {more} more"))
    return Group(*lines)


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def failures_to_text(failures: Collection[Failure]) -> RenderableType:
    """Return failed files with reasons, and how to try them again."""
    if not failures:
        return Text("No file has failed.")
    advice = "They are tried again when they change, or now with: florence-rag failures --retry"
    return Group(failed_to_text(failures), Text(f"{len(failures)} failed. {advice}", "bold"))


def failed_to_text(failures: Iterable[Failure]) -> RenderableType:
    """Return one line per failed file, with the reason."""
    return Group(
        *(
            Text.assemble(("failed ", "red"), source_to_text(failure.source), ": ", plain(bare_reason(failure)))
            for failure in failures
        )
    )


def bare_reason(failure: Failure) -> str:
    """Return the reason without the name of the file, which is printed before it."""
    return failure.reason.removeprefix(f"{failure.source!r} ")


def change_to_text(event: str, source: str, detail: str = "", locator: Locator | None = None) -> Text:
    """Return one line about a file that changed, or that is not read."""
    color = {"failed": "red", "removed": "yellow", "skipped": "yellow"}.get(event, "green")
    return Text.assemble((f"{event} ", color), source_to_text(source, locator), plain(f": {detail}" if detail else ""))


def hits_to_text(hits: Iterable[Hit], nothing: str = "Nothing found.") -> RenderableType:
    """Return a numbered list of hits, or the line for none."""
    blocks = [_hit_to_text(hit, rank) for rank, hit in enumerate(hits, start=1)]
    return Group(*blocks) if blocks else Text(nothing, "yellow")


def _hit_to_text(hit: Hit, rank: int) -> Text:
    text = Text.assemble((f"{rank:3}  ", "bold"), source_to_text(hit.source, hit.locator))
    label = hit.metadata.get("label") if hit.locator.box else None
    kind = f"{hit.kind} of {label}" if label else hit.kind
    explanation = f": {hit.explanation}" if hit.explanation else ""
    measure = f"score {hit.score:.3f}" if hit.relevance is None else f"relevance {hit.relevance:.2f}"
    text.append_text(plain(f"\n     {kind}, {measure}{explanation}", "dim"))
    if content := _shorten(hit.content, MAX_CONTENT):
        text.append_text(plain(f"\n     {content}"))
    if hit.grouped_hits:
        others = "; ".join(_grouped_hit_to_text(other, hit) for other in hit.grouped_hits)
        text.append_text(plain(f"\n     also {others}", "dim"))
    return text


def _grouped_hit_to_text(other: Hit, best: Hit) -> str:
    if other.source == best.source:
        return f"at {other.locator}" if str(other.locator) else "as a whole"
    return source_to_text(other.source, other.locator).plain


def _shorten(text: str, length: int) -> str:
    from florence_rag.tokenize import shorten

    return shorten(" ".join(text.split()), length)


def answer_to_text(answer: Answer) -> RenderableType:
    """Return the answer with its confidence, its citations, and the other candidates."""
    lines = [answer_line(answer)]
    lines += [_citation_to_text(citation, rank) for rank, citation in enumerate(answer.citations, start=1)]
    if answer.considered:
        lines.append(plain("not relevant enough:", "dim"))
        lines += [_citation_to_text(citation, rank) for rank, citation in enumerate(answer.considered, start=1)]
    lines += [_claim_to_text(claim) for claim in answer.claims or () if claim.verdict != "unchecked"]
    if left := sum(claim.verdict == "unchecked" for claim in answer.claims or ()):
        lines.append(Text(f"unchecked: {left} more statements, because the answer states too much", "yellow"))
    others = [(text, confidence) for text, confidence in answer.candidates if text != answer.answer][:4]
    if others:
        names = ", ".join(f"{_shorten(text, MAX_CANDIDATE)} ({confidence:.2f})" for text, confidence in others)
        lines.append(plain(f"also considered: {names}", "dim"))
    return Group(*lines)


def answer_line(answer: Answer) -> Text:
    """Return the answer alone, in yellow if it has no citation."""
    style = "bold green" if answer.status == "answered" and answer.citations else "yellow"
    cached = ("  from the cache", "dim") if answer.cached_from else ""
    return Text.assemble(plain(answer.answer, style), _confidence_to_text(answer.confidence), cached)


def _citation_to_text(citation: Citation, rank: int) -> Text:
    text = Text.assemble((f"{rank:3}  ", "bold"), source_to_text(citation.source, citation.locator))
    text.append_text(_confidence_to_text(citation.confidence))
    if citation.confidence is None and citation.relevance is not None:
        text.append_text(Text(f"  relevance {citation.relevance:.2f}", "dim"))
    if citation.cached_from:
        text.append_text(plain(f"\n     {citation.cached_from}", "dim"))
    return text.append_text(plain(f"\n     “{' '.join(citation.quote.split())}”")) if citation.quote else text


def _claim_to_text(claim: CheckedClaim) -> Text:
    color = {"supported": "green", "contradicted": "red"}.get(claim.verdict, "yellow")
    text = Text.assemble((f"{claim.verdict}: ", color), plain(_shorten(claim.text, MAX_CONTENT)))
    text.append_text(_confidence_to_text(claim.confidence))
    if claim.citation is not None:
        text.append_text(Text.assemble("\n     ", source_to_text(claim.citation.source, claim.citation.locator)))
    return text


def _confidence_to_text(confidence: float | None) -> Text:
    return Text("" if confidence is None else f"  confidence {confidence:.2f}", "dim")


def info_to_text(info: IndexInfo, failures: Iterable[Failure], card: ModelCard | None) -> RenderableType:
    """Return what a database contains, what failed, and what its model was trained on."""
    embedder = info.embedder
    facts = {
        "database": f"{info.uri}, collection {info.collection}",
        "served by": f"{info.server_version}, index {info.index_type}, vectors in {info.vector_dtype}",
        "embedder": f"{embedder.name}, {embedder.dimension} dimensions, weights {embedder.fingerprint}",
        "files": f"{info.sources} indexed, {info.failures} failed",
        "chunks": ", ".join(f"{count} {kind}" for kind, count in info.chunks.items()) or "none",
    }
    if info.awaiting_words:
        total = sum(count for kind, count in info.chunks.items() if kind != "text")
        read = f"{total - info.awaiting_words:,} of {total:,} images"
        facts["text read"] = f"{read} (OCR, captions); the next index run continues"
    if info.skipped:
        facts["skipped"] = counts_to_line(info.skipped).removeprefix("skipped ")
    if info.shadow_embedder:
        name = info.shadow_embedder.name
        facts["moving to"] = (
            f"{name}: continue with `florence-rag reembed --to`, or drop it with `florence-rag reembed --rollback`"
        )
    if info.incomplete:
        facts["incomplete"] = f"{len(info.incomplete)} files, which the next index run completes"
    if info.advice:
        facts["advice"] = info.advice
    lines = [Text.assemble((f"{name:<12}", "bold"), plain(value)) for name, value in facts.items()]
    if card:
        lines.append(plain(f"{card.name} was trained on {card.training_data}.", "yellow"))
    return Group(*lines, failed_to_text(failures))
