"""How results look: for a person on a terminal, for a program as one line of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from florence_rag.index.base import IndexInfo
    from florence_rag.models.registry import ModelCard
    from florence_rag.reembed.compare_embedders import Comparison
    from florence_rag.reembed.reembedding import ReembedReport
    from florence_rag.types import Answer, Citation, Failure, Hit, IndexReport, Locator

WORDS_SHOWN = 200
"""Characters of a passage in a list of hits."""
WORDS_OF_OTHERS = 60
"""Characters of an answer that was not given, which may be a passage, too."""


def results() -> Console:
    """Where answers go: standard output. Lines are never broken, so that paths can be copied and searched for."""
    return Console(soft_wrap=True, highlight=False)


def notes() -> Console:
    """Where progress and errors go: standard error."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def show(record: Mapping[str, Any], picture: RenderableType, as_json: bool) -> None:
    """The record as one line of ASCII, which every pipe can carry, or its picture for a person."""
    if as_json:
        print(json.dumps(record))
    else:
        results().print(picture)


def plain(text: str, style: str = "") -> Text:
    """Words from a file, made harmless: no markup, no terminal control, nothing that cannot be written."""
    writable = text.encode("utf-8", "replace").decode()
    return Text("".join(c if c.isprintable() or c == "\n" else " " for c in writable), style)


def place(source: str, locator: Locator | None = None) -> Text:
    """A file, as a path from here where that is shorter, and where in it; a link on terminals that have them."""
    path = Path(source)
    name = min(source, os.path.relpath(source), key=len) if path.is_absolute() else source
    shown = plain(name.replace("\n", " "), "cyan")
    if path.is_absolute():
        shown.stylize(f"link {path.as_uri()}")
    where = str(locator or "")
    return Text.assemble(shown, f", {where}" if where else "")


def report_to_text(report: IndexReport) -> RenderableType:
    """The files that failed and why, then the counts."""
    counts = {name: getattr(report, name) for name in ("added", "updated", "unchanged", "removed")}
    counts["failed"] = len(report.failed)
    if report.near_duplicates:
        counts["left out for near-duplicates"] = len(report.near_duplicates)
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    return Group(failed_to_text(report.failed), Text(summary, "bold"))


def failures_to_text(failures: Collection[Failure]) -> RenderableType:
    """Each with its reason, and what can be done."""
    if not failures:
        return Text("No file has failed.")
    advice = "Tried again when they change, or now with: florence-rag failures --retry"
    return Group(failed_to_text(failures), Text(f"{len(failures)} failed. {advice}", "bold"))


def change_to_text(event: str, source: str, detail: str = "") -> Text:
    """What became of one file."""
    color = {"failed": "red", "removed": "yellow"}.get(event, "green")
    return Text.assemble((f"{event} ", color), place(source), plain(f": {detail}" if detail else ""))


def hits_to_text(hits: Iterable[Hit]) -> RenderableType:
    """A numbered list, best first."""
    blocks = [_hit_to_text(hit, rank) for rank, hit in enumerate(hits, start=1)]
    return Group(*blocks) if blocks else Text("Nothing found.", "yellow")


def answer_to_text(answer: Answer) -> RenderableType:
    """The answer, how sure it is, and what it rests on."""
    lines = [answer_line(answer)]
    lines += [_citation_to_text(citation, rank) for rank, citation in enumerate(answer.citations, start=1)]
    others = [(text, share) for text, share in answer.candidates if text != answer.text][:4]
    if others:
        said = ", ".join(f"{_shortened(text, WORDS_OF_OTHERS)} ({share:.2f})" for text, share in others)
        lines.append(plain(f"also considered: {said}", "dim"))
    return Group(*lines)


def answer_line(answer: Answer) -> Text:
    """The answer alone; yellow if it rests on nothing."""
    style = "bold green" if answer.citations else "yellow"
    return Text.assemble(plain(answer.text, style), _confidence(answer.confidence))


def info_to_text(info: IndexInfo, failures: Iterable[Failure], card: ModelCard | None) -> RenderableType:
    """What a database holds, what failed, and what its model knows."""
    embedder = info.embedder
    facts = {
        "database": f"{info.uri}, collection {info.collection}",
        "served by": f"{info.server_version}, index {info.index_type}, vectors in {info.vector_dtype}",
        "embedder": f"{embedder.name}, {embedder.dimension} dimensions, weights {embedder.fingerprint}",
        "files": f"{info.sources} indexed, {info.failures} failed",
        "chunks": ", ".join(f"{count} {kind}" for kind, count in info.chunks.items()) or "none",
    }
    if info.shadow_embedder:
        facts["moving to"] = f"{info.shadow_embedder.name}: go on with reembed --to, or drop it with reembed --rollback"
    if info.incomplete:
        facts["incomplete"] = f"{len(info.incomplete)} files, which the next index run completes"
    if info.advice:
        facts["advice"] = info.advice
    lines = [Text.assemble((f"{name:<12}", "bold"), plain(value)) for name, value in facts.items()]
    if card:
        lines.append(plain(f"{card.name} knows {card.training_data}.", "yellow"))
    return Group(*lines, failed_to_text(failures))


def reembedded_to_text(report: ReembedReport, compared: Comparison) -> RenderableType:
    """How far a database is on its way to another model, and how far the results agree."""
    state = "It uses" if report.switched else "It can switch to"
    return Group(
        failed_to_text(report.left_out),
        Text(f"{report.sources} of {report.total} files, {report.chunks} chunks embedded by {report.model}", "bold"),
        Text(
            f"{compared.mean:.0%} of {compared.k} results are the same, in the mean of {len(compared.queries)} queries"
        ),
        Text(f"{state} the new vectors."),
    )


def card_to_dict(card: ModelCard, here: Collection[str]) -> dict[str, Any]:
    """JSON-ready. here: names of the models that need no network."""
    from florence_rag.models.registry import DEFAULT

    return {**asdict(card), "default": card.name == DEFAULT, "here": card.name in here}


def cards_to_text(cards: Iterable[ModelCard], here: Collection[str]) -> RenderableType:
    """Each model: what it is for, its size and licence, what it knows. here: those that need no network."""
    return Group(*(_card_to_text(card, card.name in here) for card in cards))


def _card_to_text(card: ModelCard, here: bool) -> Text:
    size = "on this machine" if here else f"{card.size_mb} MB to fetch" if card.size_mb else "a service"
    facts = ", ".join([*card.roles, *([f"{card.parameters_m:g}M parameters"] if card.parameters_m else [])])
    return Text.assemble(
        (card.name, "bold"),
        f"  {facts}, ",
        (size, "green" if here else ""),
        f"\n  knows {card.training_data}; {card.license}",
    )


def cards_to_markdown(cards: Iterable[ModelCard]) -> str:
    """The table of docs/models.md."""
    rows = [
        "| name | for | parameters | download | knows | licence | published | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        size = f"{card.size_mb} MB" if card.size_mb else "a service"
        paper = f"[{card.paper}](https://arxiv.org/abs/{card.paper})" if card.paper else ""
        parameters = f"{card.parameters_m:g}M" if card.parameters_m else ""
        roles = ", ".join(card.roles)
        cells = [f"`{card.name}`", roles, parameters, size, card.training_data, card.license, card.published, paper]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def converted_to_text(config: Any, folder: Path) -> RenderableType:
    """What a converted folder is good for."""
    if config.model_type == "florence":
        return plain(f"A dual tower. Use it with: florence-rag index PATH --model {folder}")
    use = f"Use it with: florence-rag ask QUESTION --vqa {folder}"
    lacking = "It has no answers: convert it with --answers to let it answer."
    answers = "vqa" in config.heads
    said = (use if config.answers else lacking) if answers else ""
    return plain(f"METER with the heads {', '.join(config.heads)}. {said}".rstrip())


def failed_to_text(failures: Iterable[Failure]) -> RenderableType:
    """A line for each, with its reason."""
    return Group(
        *(
            Text.assemble(("failed ", "red"), place(failure.source), ": ", plain(bare_reason(failure)))
            for failure in failures
        )
    )


def bare_reason(failure: Failure) -> str:
    """The reason without the file, which is named before it."""
    return failure.reason.removeprefix(f"{failure.source!r} ")


def _hit_to_text(hit: Hit, rank: int) -> Text:
    text = Text.assemble((f"{rank:3}  ", "bold"), place(hit.source, hit.locator))
    label = hit.metadata.get("label") if hit.locator.box else None
    kind = f"{hit.kind} of {label}" if label else hit.kind
    explanation = f": {hit.explanation}" if hit.explanation else ""
    text.append_text(plain(f"\n     {kind}, score {hit.score:.3f}{explanation}", "dim"))
    if words := _shortened(hit.content, WORDS_SHOWN):
        text.append_text(plain(f"\n     {words}"))
    if hit.grouped_hits:
        text.append_text(
            plain(f"\n     also {'; '.join(_moment_to_text(moment, hit) for moment in hit.grouped_hits)}", "dim")
        )
    return text


def _shortened(text: str, length: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else f"{words[:length]}…"


def _moment_to_text(moment: Hit, best: Hit) -> str:
    if moment.source == best.source:
        return f"at {moment.locator}" if str(moment.locator) else "as a whole"
    return place(moment.source, moment.locator).plain


def _citation_to_text(citation: Citation, rank: int) -> Text:
    text = Text.assemble((f"{rank:3}  ", "bold"), place(citation.source, citation.locator))
    text.append_text(_confidence(citation.confidence))
    if citation.remembered:
        text.append_text(plain(f"\n     {citation.remembered}", "dim"))
    return text.append_text(plain(f"\n     “{' '.join(citation.quote.split())}”")) if citation.quote else text


def _confidence(value: float | None) -> Text:
    return Text("" if value is None else f"  confidence {value:.2f}", "dim")
