"""Compares files with what an index knows of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike

from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.folder_counts import FolderCounts
from florence_rag.ingest.read_stage import is_cut_shorter, is_raised
from florence_rag.skip_counts import SkipCounts
from florence_rag.sources import Places, SourceUnavailable, discover, expand_lines, expand_paths, prefixes_below
from florence_rag.sources.io import Columns
from florence_rag.telemetry import span
from florence_rag.types import Failure, RejectedSource, Skipped, Source
from florence_rag.workers import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class IndexDiff:
    """How files differ from what the index knows of them.

    Attributes:
        gone: The uris of files to delete from the index.
        unreadable: Files and folders that cannot be read, to be recorded as failures.
        unavailable: Indexed sources whose server cannot be reached; they stay as they are.
        skipped: Files, and parts of unchanged files, that are not read.
        folder_counts: The number of skipped files by folder and reason, where it differs from the record.
        changed: Sources to index, because they are new or have changed.
        unchanged: Sources that are indexed as they are.
        rejected: Sources that were read before without being indexed, and need not be read again.
        touched: Those of the unchanged and rejected sources whose size or time differs from the record.
    """

    gone: Sequence[str] = ()
    unreadable: Sequence[Failure] = ()
    unavailable: Sequence[Failure] = ()
    skipped: SkipCounts = field(default_factory=SkipCounts)
    folder_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    changed: list[Source] = field(default_factory=list)
    unchanged: list[Source] = field(default_factory=list)
    rejected: list[RejectedSource] = field(default_factory=list)
    touched: list[Source] = field(default_factory=list)

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.gone or self.unreadable or self.changed or self.touched)

    @property
    def is_empty(self) -> bool:
        """Whether no file was found, and none is missing."""
        return not (self.has_changes or self.unchanged or self.rejected or self.unavailable)


class IndexSnapshot:
    """The ledger of an index, read once and updated after each run, so that watching need not read it for each file."""

    def __init__(self, index: ChunkIndex) -> None:
        self.sources = index.sources()  # the complete sources by uri
        self.rejected = index.rejected()  # the sources by uri that need not be tried again before they change
        self.failed = {failure.source for failure in index.failures()}
        self.skipped_parts = index.skipped_parts()
        self.skipped_files = index.skipped_files()

    @span("index.discover")
    def diff(
        self,
        paths: Iterable[str | PathLike[str]] | Places,
        *,
        listed: Iterable[str | PathLike[str]] = (),
        columns: Columns | None = None,
        prune: bool = False,
        retry: bool = False,
        follow_links: bool = False,
        drop_near_duplicates: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        max_chunks: int | None = None,
    ) -> IndexDiff:
        """Compare the files at and below paths with the snapshot, with the options of `FlorenceRAG.add`.

        Paths that do not exist raise InputError, because their disk may only be unmounted; `Places` that do not exist
        are gone. With `drop_near_duplicates` sources that were rejected as near-duplicates stay rejected. Those that
        exceeded a limit, also one of chunks, are tried again if it is higher now.
        """
        more, lost = expand_lines(listed)
        prune = prune or isinstance(paths, Places)
        given = Places.join([paths if isinstance(paths, Places) else expand_paths(paths), more])
        places = given.uris
        known = {uri: each.source for uri, each in self.rejected.items()} | self.sources
        found: list[Source | Failure] = []
        skipped, folders = SkipCounts(), FolderCounts(given.named)
        for each in discover(given.existing(), known, columns, follow_links=follow_links):
            if isinstance(each, Skipped):
                skipped.add(each)
                folders.add(each)
            else:
                found.append(each)
        folder_counts = folders.changes(self.skipped_files, map(_uri, found))
        gone = (self.failed & set(places)) - {_uri(each) for each in found}  # folders that can be read again
        if prune:
            gone |= self._missing([*places, *(each.source for each in lost)], found)
        found += [each for each in lost if each.source not in gone]
        unavailable = {
            each.source: each for each in found if isinstance(each, SourceUnavailable) and each.source in self.sources
        }
        found = [each for each in found if _uri(each) not in unavailable]
        changed = {_uri(each) for each in found if not _has_content_of(each, self.sources.get(_uri(each)))}
        originals = self.sources.keys() - gone - changed
        # Near-duplicates whose original is gone or has changed may be indexed now.
        orphans = {
            uri for uri, each in self.rejected.items() if each.duplicate_of and each.duplicate_of not in originals
        }
        unmet = orphans - {_uri(each) for each in found} - unavailable.keys()
        again = discover(Places(list(unmet)).existing(), known)
        found += [each for each in again if not isinstance(each, Skipped)]
        unreadable = [each for each in found if isinstance(each, Failure)]
        diff = IndexDiff(sorted(gone), unreadable, list(unavailable.values()), skipped, folder_counts)
        still_rejected = {
            uri
            for uri, each in self.rejected.items()
            if (
                drop_near_duplicates and uri not in orphans
                if each.duplicate_of
                else not (retry or is_raised(uri, each.reason, limits))
            )
        }
        for source in found:
            if isinstance(source, Source):
                self._classify(source, diff, known, still_rejected, max_chunks)
        return diff

    def update(
        self,
        diff: IndexDiff,
        done: Iterable[Source],
        rejected: Iterable[RejectedSource],
        failed: Iterable[str],
        skipped: Mapping[str, Sequence[Skipped]],
    ) -> None:
        """Update the snapshot with the results of a run."""
        for uri in (*diff.gone, *(each.uri for each in diff.changed), *(each.source for each in diff.unreadable)):
            self.sources.pop(uri, None)
            self.rejected.pop(uri, None)
            self.failed.discard(uri)
            self.skipped_parts.pop(uri, None)
        self.sources |= {source.uri: source for source in done}
        self.rejected |= {each.source.uri: each for each in rejected}
        self.failed |= {*failed, *(each.source for each in diff.unreadable)}
        self.skipped_parts |= skipped
        counts = self.skipped_files | diff.folder_counts
        self.skipped_files = {folder: by_reason for folder, by_reason in counts.items() if by_reason}
        for source in diff.touched:
            if source.uri in self.sources:
                self.sources[source.uri] = source
            else:
                self.rejected[source.uri] = replace(self.rejected[source.uri], source=source)

    def _classify(
        self,
        source: Source,
        diff: IndexDiff,
        known: Mapping[str, Source],
        still_rejected: Collection[str],
        max_chunks: int | None,
    ) -> None:
        rejected, skipped = self.rejected.get(source.uri), self.skipped_parts.get(source.uri, ())
        if _has_content_of(source, self.sources.get(source.uri)) and not is_cut_shorter(skipped, max_chunks):
            diff.unchanged.append(source)
            diff.skipped.extend(skipped)
        elif rejected and _has_content_of(source, rejected.source) and source.uri in still_rejected:
            diff.rejected.append(rejected)
        else:
            diff.changed.append(source)
            return
        if source != known[source.uri]:
            diff.touched.append(source)

    def _missing(self, places: Sequence[str], found: Collection[Source | Failure]) -> set[str]:
        """Return the recorded uris at and below the places that were not found there.

        What lies in a folder or container that cannot be read is not missing.
        """
        unreadable = {each.source for each in found if isinstance(each, Failure)}
        recorded = self.sources.keys() | self.rejected.keys() | self.failed
        missing = recorded & set(places)
        if below := prefixes_below(place for place in places if place not in self.sources):
            missing |= {uri for uri in recorded if uri.startswith(below)}
        below_unreadable = prefixes_below(unreadable)
        return {uri for uri in missing - {_uri(each) for each in found} if not uri.startswith(below_unreadable)}


def _uri(found: Source | Failure) -> str:
    return found.uri if isinstance(found, Source) else found.source


def _has_content_of(found: Source | Failure, known: Source | None) -> bool:
    return isinstance(found, Source) and known is not None and known.content_hash == found.content_hash
