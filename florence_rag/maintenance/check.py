"""Checks a database for damage: its files, its ledger, its rows, its stored images and its cached answers.

No model is loaded, nothing is repaired, and a page of rows is in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from florence_rag.errors import InputError, StoreCorruptError
from florence_rag.image_store import ImageStore, item_file, path_and_digest
from florence_rag.index.address import Address, image_folder
from florence_rag.index.ledger import Entry
from florence_rag.index.lite.integrity import find_damage
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_check import check_row
from florence_rag.index.rows import Row, row_to_hit
from florence_rag.index.tenants import with_tenant
from florence_rag.index.text_codec import decode_uri
from florence_rag.maintenance.findings import CheckReport, Finding, FindingKind
from florence_rag.sources import Places, discover
from florence_rag.sources.io.uris import is_url, parse_member
from florence_rag.types import ITEM_IMAGE, Failure, Hit, Skipped, is_chunk_id, item_uri


def check_database(
    db: str | Path, *, token: str | None = None, collection: str = "florence", tenant: str | None = None
) -> CheckReport:
    """Check a database for damage, without loading a model.

    Args:
        db: The folder of a Milvus Lite database, which no other process may have open, or the URI of a server.
        token: The token of a Milvus server.
        collection: The Milvus collection.
        tenant: Whose part of the collection is checked, if it belongs to tenants.

    Returns:
        The damage, and which files are gone or have changed since they were indexed, which is none.

    Raises:
        StoreError: If there is no database, or it cannot be opened for another reason than damage.
    """
    address, collection = Address.parse(str(db)), with_tenant(collection, tenant)
    findings = []
    if address.path is not None and address.path.is_dir():
        findings = [Finding("file", str(each)) for each in find_damage(address.path, thorough=True)]
    try:
        with MilvusIndex.open_unchecked(str(db), token, collection) as index:
            check = IndexCheck(index, ImageStore(index, image_folder(str(db), collection)), findings)
            check.run()
            return check.report()
    except StoreCorruptError as error:
        if not findings:
            findings.append(Finding("settings", str(error)))
        return CheckReport(str(db), 0, 0, tuple(findings))


@dataclass
class IndexCheck:
    """A check of one open index, whose results a repair uses, too.

    Attributes:
        entries: The readable entries of the ledger, by uri.
        rows: The number of rows of each source.
        unreadable: The ids of the records of the ledger that cannot be read.
        unverified: The ids of the rows that have no checksum, and no known damage.
        answers: The ids of cached answers that cannot be read.
    """

    index: MilvusIndex
    images: ImageStore
    findings: list[Finding] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict, init=False)
    rows: Counter[str] = field(default_factory=Counter, init=False)
    unreadable: list[str] = field(default_factory=list, init=False)
    unverified: list[str] = field(default_factory=list, init=False)
    answers: list[str] = field(default_factory=list, init=False)
    gone: list[str] = field(default_factory=list, init=False)
    changed: list[str] = field(default_factory=list, init=False)

    def run(self) -> None:
        """Check everything."""
        self._check_ledger()
        has_checksum = self.index.chunks.swap.settings().checksums
        for row in self.index.chunks.stored_rows():
            self._check_row(row, has_checksum)
        self._check_counts()
        for id, error in self.index.answer_store().damaged():
            self.answers.append(id)
            self._add("answer", f"a cached answer cannot be read ({error})", id=id)
        self._compare_files()

    def report(self) -> CheckReport:
        """Summarize the check."""
        return CheckReport(
            database=str(self.index.chunks.connection.address),
            rows=self.rows.total(),
            sources=sum(entry.is_complete for entry in self.entries.values()),
            findings=tuple(self.findings),
            unverified=len(self.unverified),
            unfinished=tuple(sorted(uri for uri, entry in self.entries.items() if entry.state == "begun")),
            gone=tuple(self.gone),
            changed=tuple(self.changed),
        )

    def _add(self, kind: FindingKind, problem: str, source: str = "", id: str = "") -> None:
        self.findings.append(Finding(kind, problem, source, id))

    def _check_ledger(self) -> None:
        for id, record in self.index.chunks.ledger.records():
            if isinstance(record, Entry):
                self.entries[record.uri] = record
            else:
                self.unreadable.append(id)
                self._add("record", f"the ledger's record {id!r} cannot be read ({record})", id=id)

    def _check_row(self, row: Row, has_checksum: bool) -> None:
        uri = decode_uri(row["source"])
        self.rows[uri] += 1
        verdict, problem = check_row(row, self.index.chunks, has_checksum=has_checksum)
        if problem:
            self._add("content" if verdict == "content" else "vector", problem, uri, row["id"])
        elif verdict == "unknown":
            self.unverified.append(row["id"])
        if verdict != "content":
            self._check_image(row_to_hit(row))

    def _check_image(self, item: Hit) -> None:
        """Compare the image of an item with its recorded digest; one that is not stored may be gone or changed."""
        file = item_file(item) if item.is_item else ""
        if not file:
            return
        try:
            _, digest = path_and_digest(self.images.path(file))
            problem = "" if digest == item.metadata[ITEM_IMAGE]["hash"] else "has changed"
        except (InputError, OSError):
            problem = "is missing or cannot be read"
        if problem and is_chunk_id(file):
            self._add("image", f"its stored image {problem}", item.uri, item.id)
        elif problem:
            (self.changed if problem == "has changed" else self.gone).append(file)

    def _check_counts(self) -> None:
        for uri, entry in self.entries.items():
            if entry.is_complete and self.rows[uri] != entry.rows:
                self._add("count", f"it has {self.rows[uri]} of {entry.rows} rows", uri)
            elif self.rows[uri] and not entry.is_complete and entry.state != "begun":
                self._add("count", f"it has {self.rows[uri]} rows, although it is recorded as {entry.state}", uri)
        for uri in self.rows.keys() - self.entries.keys():
            self._add("unknown-source", f"the ledger does not list it, but there are {self.rows[uri]} rows of it", uri)

    def _compare_files(self) -> None:
        """Find files that are gone or have changed. Items are checked with their rows, and URLs not at all."""
        complete = [entry for entry in self.entries.values() if entry.is_complete]
        known = {entry.uri: entry.source for entry in complete if entry.source and is_local(entry.uri)}
        places = Places(sorted(known))
        existing = places.existing()
        self.gone += sorted(known.keys() - set(existing.uris))
        for found in discover(existing, known):
            if isinstance(found, Failure):
                self.changed.append(found.source)
            elif not isinstance(found, Skipped) and found.content_hash != known[found.uri].content_hash:
                self.changed.append(found.uri)


def is_local(uri: str) -> bool:
    """Return whether a source is a file on this machine, or a part of one."""
    member = parse_member(uri)
    return not uri.startswith(item_uri("")) and not is_url(member.container if member else uri)
