"""What a check of a database finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from florence_rag.validation import validate_arguments

FindingKind = Literal["file", "settings", "record", "content", "vector", "count", "unknown-source", "image", "answer"]


@validate_arguments
@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a database.

    Attributes:
        kind: "file" for a file of Milvus Lite; "settings" for those of the index; "record" for a record of the ledger
            that cannot be read; "content" for a damaged row; "vector" for a row of which only fields are damaged that
            follow from its content; "count" for a source with missing or too many rows; "unknown-source" for rows of a
            source that the ledger does not list; "image" for the stored image of an item; "answer" for a cached answer.
        problem: What is wrong, in one line.
        source: The uri of the source, if the fault concerns one.
        id: The id of the row or of the record, if the fault concerns one.
    """

    kind: FindingKind
    problem: str
    source: str = ""
    id: str = ""

    def __str__(self) -> str:
        parts = (self.source, self.id and f"row {self.id!r}" * (self.kind in ("content", "vector")))
        where = ", ".join(part for part in parts if part)
        return f"{where}: {self.problem}" if where else self.problem


@validate_arguments
@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check.

    Attributes:
        database: The address of the database.
        rows: The number of rows that were read.
        sources: The number of complete sources.
        findings: The damage; empty if there is none.
        unverified: The number of rows without a checksum, which an older version wrote.
        unfinished: The sources of an index run that was interrupted; the next run completes them.
        gone: The indexed files that no longer exist. That is no damage.
        changed: The indexed files whose content has changed since. That is no damage.
    """

    database: str
    rows: int
    sources: int
    findings: tuple[Finding, ...]
    unverified: int = 0
    unfinished: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether there is no damage."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return asdict(self) | {"sound": self.is_sound}
