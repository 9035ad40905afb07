"""Counts what is skipped by reason, and puts the counts into one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from florence_rag.types import Skipped

MAX_LISTED = 10_000
"""The most records that are kept; a folder may hold millions of files of a kind that is not read."""
MAX_REASONS = 200
"""The most reasons that are counted separately: programs invent suffixes, and a row of the ledger holds all counts."""
OTHER = "of other kinds"
"""The reason under which all further ones are counted."""
OCR_PENDING = "without OCR text yet"
CAPTIONS_PENDING = "without captions yet"
WORDS_PENDING = frozenset({OCR_PENDING, CAPTIONS_PENDING})
"""The marks of a source that is found by visual similarity, and whose words a later pass reads; not counted."""
WORDS_FAILED = "whose OCR text or caption cannot be read"
"""The mark of a source whose pending words are not tried again before it changes, or a run is asked to retry."""
_MAX_SHOWN = 6


def awaits_words(parts: Iterable[Skipped]) -> bool:
    """Return whether the words of a source are still to be read; `parts` are what is not read of it."""
    return bool(pending_words(parts)) and all(part.reason != WORDS_FAILED for part in parts)


def pending_words(parts: Iterable[Skipped]) -> frozenset[str]:
    """Return the marks of the words that a source lacks, also if they cannot be read."""
    return WORDS_PENDING.intersection(part.reason for part in parts)


class SkipCounts:
    """Counts records exactly, and keeps the first 10,000 of them."""

    def __init__(self) -> None:
        self.records: list[Skipped] = []
        self._counts: Counter[str] = Counter()

    def add(self, record: Skipped) -> None:
        """Count a record, unless it only says that words are still to be read."""
        if record.reason in WORDS_PENDING:
            return
        if len(self.records) < MAX_LISTED:
            self.records.append(record)
        is_counted = record.reason in self._counts or len(self._counts) < MAX_REASONS
        self._counts[record.reason if is_counted else OTHER] += 1

    def extend(self, records: Iterable[Skipped]) -> None:
        """Count several records."""
        for each in records:
            self.add(each)

    @property
    def by_reason(self) -> dict[str, int]:
        """The number of records of each reason, most frequent first."""
        return _sorted(self._counts)


def total_counts(parts: Iterable[Skipped], folders: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the number of skipped parts, and of skipped files in folders, by reason, most frequent first."""
    counts = Counter(part.reason for part in parts if part.reason not in WORDS_PENDING)
    for by_reason in folders:
        counts.update(by_reason)
    return _sorted(counts)


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by reason, most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def counts_to_line(counts: Mapping[str, int]) -> str:
    """Return one line such as "skipped 3: 2 .mp3, 1 .docx (install florence-rag[office])", or "" without counts."""
    if not counts:
        return ""
    reasons = [f"{count} {reason}" for reason, count in _sorted(counts).items()]
    if len(reasons) > _MAX_SHOWN:
        others = len(reasons) - _MAX_SHOWN + 1
        reasons[_MAX_SHOWN - 1 :] = [f"and {others} other kinds"]
    return f"skipped {sum(counts.values())}: {', '.join(reasons)}"
