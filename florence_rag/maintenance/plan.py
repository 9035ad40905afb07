"""Plans the repair of an index: for each damaged source, what can be made again and what is lost."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from florence_rag.batching import batched
from florence_rag.index.ledger import Entry, record_id
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_check import check_row
from florence_rag.index.rows import Row
from florence_rag.index.text_codec import decode_uri
from florence_rag.ingest.items import item_content
from florence_rag.maintenance.check import IndexCheck
from florence_rag.maintenance.findings import Finding
from florence_rag.sources import exists
from florence_rag.sources.io.uris import is_url, parse_member
from florence_rag.types import MEDIA_OF_KIND, Chunk, Frame, Hit, Kind, Source, item_uri

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
        restored: Whole rows to write again, which had been set aside.
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
    restored: list[Row] = field(default_factory=list)
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
        chunks.connection.delete(chunks.name, self.rows)
        chunks.drop_sources(self.dropped)
        chunks.ledger.drop(self.dropped)
        index.load_rows(self.restored)
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
    _plan_unfinished(plan, check, findings)
    return plan


def hit_to_chunk(hit: Hit, frames: tuple[Frame, ...]) -> Chunk:
    """Return the chunk of a stored row."""
    source = _unread_source(hit.uri, hit.kind)
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


def _plan_unfinished(plan: RepairPlan, check: IndexCheck, damaged: Collection[str]) -> None:
    """Plan to index files again whose indexing was interrupted; of those that are gone, keep the rows."""
    gone = set()
    for uri, entry in sorted(check.entries.items()):
        if entry.state == "begun" and uri not in damaged:
            if _is_there(uri):
                plan.reindex.append(uri)
                plan.add("repaired", "index it again, as the run that indexed it was interrupted", uri)
            elif entry.source:  # otherwise it is being deleted
                gone.add(uri)
    aside = _rows_set_aside(check, {uri for uri in gone if not check.rows[uri]})
    plan.restored = [row for rows in aside.values() for row in rows]
    present = check.index.chunks.rows_of_sources([uri for uri in gone if check.rows[uri]], ["source", "kind"])
    for uri, rows in sorted((aside | _by_source(present)).items()):
        counts = Counter(row["kind"] for row in rows)
        plan.entries.append(Entry(uri, "complete", _unread_source(uri, rows[0]["kind"]), counts))
        origin = "had been set aside" if uri in aside else "are there"
        plan.add("repaired", f"kept the {len(rows)} rows that {origin}, because the file is gone", uri)


def _rows_set_aside(check: IndexCheck, uris: Collection[str]) -> dict[str, list[Row]]:
    """Return the intact rows of these sources that were set aside last."""
    chunks, found = check.index.chunks, dict[str, list[Row]]()
    for rows in chunks.connection.rows_set_aside(chunks.name) if uris else ():
        intact = (row for row in rows if check_row(row, chunks, has_checksum=True) == ("intact", ""))
        found = {uri: some for uri, some in _by_source(intact).items() if uri in uris} | found
    return {uri: [chunks.decode(row) for row in rows] for uri, rows in found.items()}


def _by_source(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by the uri of their source."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[decode_uri(row["source"])].append(row)
    return found


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
    return Entry(uri, "complete", _unread_source(uri, hit.kind, item_content(hit) if hit.is_item else ""), counts)


def _unread_source(uri: str, kind: Kind, content: str = "") -> Source:
    """Return a source that is not read. Without a digest of its content, a file that comes back counts as changed."""
    return Source(uri, MEDIA_OF_KIND[kind], 0, 0, content)
