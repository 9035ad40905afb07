"""The result of an index run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from florence_rag.types import Failure, Skipped
from florence_rag.validation import validate_arguments


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A source that is not indexed because a near-duplicate of it is."""

    source: str
    duplicate_of: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one source in the index."""

    event: Literal["added", "updated", "removed"]
    source: str


@validate_arguments
@dataclass(frozen=True, slots=True)
class IndexReport:
    """The result of an index run, counted in sources.

    Attributes:
        added: The number of new sources.
        updated: The number of changed sources.
        unchanged: The number of sources that were not read.
        removed: The number of deleted sources.
        failed: The failures, including earlier ones of sources that have not changed.
        near_duplicates: The sources that are not indexed because a near-duplicate is.
        skipped: Files, and parts of files, that are not read; at most 10,000 of them.
        skipped_counts: The exact number of them by reason, most frequent first.
        changes: Each added, updated or removed source.
        words_pending: The number of sources that are found by visual similarity, and whose OCR text and captions are
            still to be read.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: tuple[Failure, ...] = ()
    near_duplicates: tuple[NearDuplicate, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    skipped_counts: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    words_pending: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report, ready for JSON, without the changes, of which there may be millions."""
        record = asdict(replace(self, changes=(), skipped=()))
        del record["changes"]
        return record | {"skipped": [each.to_dict() for each in self.skipped]}
