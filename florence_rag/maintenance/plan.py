"""Plans the repair of an index: for each damaged source, what can be made again and what is lost."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from florence_rag.batching import batched
from florence_rag.index.ledger import Entry, record_id
from florence_rag.index.literals import one_of
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.items import item_content
from florence_rag.maintenance.check import IndexCheck
from florence_rag.maintenance.findings import Finding
from florence_rag.sources import exists
from florence_rag.sources.io.uris import is_url, parse_member
from florence_rag.types import MEDIA_OF_KIND, Chunk, Frame, Hit, Source, item_uri

_ROWS_PER_WRITE = 500


@dataclass(frozen=True, slots=True)
class Step:
    """What a repair did, or would do.

    Attributes:
        outcome: "repaired" if nothing is missing afterwards; "lost" if something is gone for good; "kept" if the damage
            stays, because what is damaged is still of use.
        action: What is done and why, in one line.
        source: The uri of the source; "" for something else.
    """

    outcome: Literal["repaired", "lost", "kept"]
    action: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.source}: {self.action}" if self.source else self.action


@dataclass
class RepairPlan:
    """What to write to an index.

    Attributes:
        steps: A line about each part of the plan.
        records: The ids of records of the ledger to delete.
        rows: The ids of rows to delete.
        entries: Entries of the ledger to write.
        dropped: The uris of sources to delete.
        answers: The ids of cached answers to delete.
        unverified: The ids of rows that get a checksum.
        embed: The ids of rows whose content is intact, to embed again.
        reindex: The uris of files to index again.
    """

    steps: list[Step] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    embed: list[str] = field(default_factory=list)
    reindex: list[str] = field(default_factory=list)

    def add(self, outcome: Literal["repaired", "lost", "kept"], action: str, source: str = "") -> None:
        """Add a line about the plan."""
        self.steps.append(Step(outcome, action, source))

    def write(self, index: MilvusIndex) -> None:
        """Do everything that needs no model. After a kill at any point, a new plan continues this one."""
        chunks = index.chunks
        chunks.ledger.drop_records(self.records)
        for some in batched(self.rows, _ROWS_PER_WRITE):
            chunks.connection.delete(chunks.name, one_of("id", some))
        chunks.drop_sources(self.dropped)
        chunks.ledger.drop(self.dropped)
        chunks.ledger.put(self.entries)
        index.answer_store().delete(self.answers)
        for some in batched(self.unverified, _ROWS_PER_WRITE):
            index.load_rows(chunks.whole_rows(some))
        settings = chunks.swap.settings()
        if not settings.checksums and chunks.codec.checksums:
            chunks.swap.ledger.put_settings(replace(settings, checksums=True))
        index.flush()


def make_plan(check: IndexCheck) -> RepairPlan:
    """Return the plan for what a check has found."""
    plan = RepairPlan(records=check.unreadable, answers=check.answers)
    if check.index.chunks.codec.checksums and check.unverified:
        plan.unverified = check.unverified
        plan.add("repaired", f"gave {len(check.unverified)} rows of an older version a checksum")
    _plan_records(plan, check)
    if plan.answers:
        plan.add("repaired", f"deleted {len(plan.answers)} cached answers that cannot be read; they are computed again")
    findings: dict[str, list[Finding]] = defaultdict(list)
    for finding in check.findings:
        if finding.kind in ("content", "vector", "count", "unknown-source", "image"):
            findings[finding.source].append(finding)
    for uri, found in sorted(findings.items()):
        _plan_source(plan, check, uri, found)
    unfinished = [uri for uri, entry in check.entries.items() if entry.state == "begun" and _is_there(uri)]
    for uri in sorted(set(unfinished) - findings.keys()):
        plan.reindex.append(uri)
        plan.add("repaired", "index it again, as the run that indexed it was interrupted", uri)
    return plan


def hit_to_chunk(hit: Hit, frames: tuple[Frame, ...]) -> Chunk:
    """Return the chunk of a stored row."""
    source = Source(hit.uri, MEDIA_OF_KIND[hit.kind], 0, 0, "")
    return Chunk(source, hit.kind, hit.locator, hit.text, hit.caption, hit.ocr, frames, hit.metadata, hit.id)


def _is_there(uri: str) -> bool:
    """Return whether the file of a source exists. The uri may be damaged, and then it is no absolute path."""
    location = member.container if (member := parse_member(uri)) else uri
    return (os.path.isabs(location) or is_url(location)) and exists(uri)


def _plan_records(plan: RepairPlan, check: IndexCheck) -> None:
    """Plan to delete records that cannot be read. The ids of those whose sources have rows follow from these."""
    known = set(map(record_id, check.rows))
    if listed := sum(id in known for id in plan.records):
        plan.add("repaired", f"deleted {listed} records of the ledger that cannot be read; their sources follow")
    if others := len(plan.records) - listed:
        what = "failures, near-duplicates, counts of folders, or sources that are lost"
        plan.add("lost", f"deleted {others} records of the ledger that cannot be read, and that have no rows: {what}")


def _plan_source(plan: RepairPlan, check: IndexCheck, uri: str, found: Sequence[Finding]) -> None:
    entry = check.entries.get(uri)
    problems = "; ".join(dict.fromkeys(finding.problem for finding in found))
    if entry is not None and entry.state in ("failed", "near-duplicate"):
        plan.rows += [row["id"] for row in check.index.chunks.rows_of_sources([uri], ["id"])]
        plan.add("repaired", f"deleted rows that it should not have ({problems})", uri)
    elif _is_there(uri):
        plan.reindex.append(uri)
        plan.add("repaired", f"index it again ({problems})", uri)
    elif len(ids := sorted({finding.id for finding in found if finding.kind == "content"})) == check.rows[uri] > 0 and (
        entry is None
    ):  # the uri may be damaged, too
        plan.rows += ids
        plan.add("lost", f"deleted damaged rows of unknown origin: {', '.join(map(repr, ids))}", uri)
    elif {finding.kind for finding in found} == {"image"}:
        plan.add("kept", f"{problems}; store the item again, or delete it", uri)
    else:
        _keep_rows(plan, check, uri, entry, found)


def _keep_rows(plan: RepairPlan, check: IndexCheck, uri: str, entry: Entry | None, found: Collection[Finding]) -> None:
    """Keep the good rows of an item, or of a file that is gone, and drop the others."""
    lost = {finding.id for finding in found if finding.kind == "content"}
    damaged = {finding.id for finding in found if finding.kind == "vector"}
    imageless = any(finding.kind == "image" for finding in found)
    hits = [hit for hit in check.index.get(sorted(damaged))]
    lost |= {hit.id for hit in hits if hit.kind != "text" and (imageless or not hit.is_item)}
    rows = {row["id"]: row["kind"] for row in check.index.chunks.rows_of_sources([uri], ["id", "kind"])}
    kept = {id: kind for id, kind in rows.items() if id not in lost}
    missing = len(lost) + (max(0, entry.rows - len(rows)) if entry else 0)
    plan.rows += sorted(lost)
    plan.embed += sorted(damaged - lost)
    what = "the item" if uri.startswith(item_uri("")) else "the file, which is gone,"
    if not kept:
        plan.dropped.append(uri)
        plan.add("lost", f"{what} is lost: no row of it is intact", uri)
        return
    counts = dict(Counter(kept.values()))
    if entry is None:
        plan.add("repaired", f"listed {what} in the ledger again, with its {len(kept)} rows", uri)
        plan.entries.append(_entry_of(check, uri, kept, counts))
    elif counts != entry.chunks:
        plan.entries.append(replace(entry, chunks=counts))
    if missing:
        plan.add("lost", f"{missing} rows of {what} are lost; {len(kept)} are intact", uri)
    if damaged - lost:
        plan.add("repaired", f"embed {len(damaged - lost)} rows again, whose content is intact", uri)


def _entry_of(check: IndexCheck, uri: str, kept: dict[str, Any], counts: dict[Any, int]) -> Entry:
    """Return an entry for rows that no record of the ledger lists."""
    (hit, *_) = check.index.get(list(kept)[:1])
    content = item_content(hit) if hit.is_item else ""  # so that a file that comes back counts as changed
    return Entry(uri, "complete", Source(uri, MEDIA_OF_KIND[hit.kind], 0, 0, content), counts)
