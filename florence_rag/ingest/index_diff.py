"""What an index knows of files, and what a look at the files asks to be done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from florence_rag.index.base import ChunkIndex
from florence_rag.sources import (
    SourceUnavailable,
    discover,
    exists,
    lines_to_uris,
    path_to_uri,
    paths_to_uris,
    uri_prefixes,
)
from florence_rag.sources.io import Columns
from florence_rag.types import Failure, SkippedSource, Source


@dataclass(frozen=True, slots=True)
class IndexDiff:
    """What a look at files has found.

    changed: to be indexed. gone: to be forgotten. unreadable: to be recorded. unreached: indexed, and now not to be
    looked at; kept as they are. unchanged: indexed as they are.
    standing: left out before, and still. restated: of the last two those that have another size or time on record.
    """

    gone: Sequence[str] = ()
    unreadable: Sequence[Failure] = ()
    unreached: Sequence[Failure] = ()
    changed: list[Source] = field(default_factory=list)
    unchanged: list[Source] = field(default_factory=list)
    standing: list[SkippedSource] = field(default_factory=list)
    restated: list[Source] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.gone or self.unreadable or self.changed or self.restated)

    @property
    def is_empty(self) -> bool:
        """Whether there was no file, and none is missed."""
        return not (self.is_due or self.unchanged or self.standing or self.unreached)


class IndexSnapshot:
    """Read off an index once; who changes it keeps them with `record`, so that watching need not read all for a file.

    sources: complete ones by uri. left_out: what need not be looked at again. failed: uris of all failures.
    """

    def __init__(self, index: ChunkIndex) -> None:
        self.sources = index.sources()
        self.left_out = index.skipped()
        self.failed = {failure.source for failure in index.failures()}

    def look(
        self,
        paths: Iterable[str | Path],
        *,
        listed: Iterable[str | Path] = (),
        columns: Columns | None = None,
        prune: bool = False,
        gone: bool = False,
        retry: bool = False,
        drop: bool = False,
    ) -> IndexDiff:
        """What there is to do below the paths.

        listed: more paths; those that are not there are failures. columns: of tables. prune: also with files below them
        that are gone. gone: so may be the paths themselves, which is otherwise an InputError: a disk may not be there.
        retry: try failures again that have not changed. drop: near-duplicates stay left out.
        """
        more, lost = lines_to_uris(listed)
        places = [*([path_to_uri(path) for path in paths] if gone else paths_to_uris(paths)), *more]
        known = {uri: each.source for uri, each in self.left_out.items()} | self.sources
        met = list(discover([place for place in places if not gone or exists(place)], known, columns))
        missing = self._missing([*places, *(each.source for each in lost)], met) if prune or gone else []
        met += [each for each in lost if each.source not in missing]
        missing = sorted({*missing, *self._mended(places, met)})
        found = [each for each in met if not self._is_unreached(each)]
        orphans = self._orphans(missing, found)
        found += discover([uri for uri in orphans - {_uri(each) for each in met} if exists(uri)], known)
        failures = [each for each in found if isinstance(each, Failure)]
        work = IndexDiff(missing, failures, [each for each in met if self._is_unreached(each)])
        for source in (each for each in found if isinstance(each, Source)):
            left = self.left_out.get(source.uri)
            if _is_same(source, self.sources.get(source.uri)):
                work.unchanged.append(source)
            elif (
                left
                and _is_same(source, left.source)
                and (drop and source.uri not in orphans if left.duplicate_of else not retry)
            ):
                work.standing.append(left)
            else:
                work.changed.append(source)
                continue
            if source != known[source.uri]:
                work.restated.append(source)
        return work

    def record(
        self, work: IndexDiff, done: Iterable[Source], left_out: Iterable[SkippedSource], failed: Iterable[str]
    ) -> None:
        """Take down what has come of the work."""
        for uri in (*work.gone, *(each.uri for each in work.changed), *(each.source for each in work.unreadable)):
            self.sources.pop(uri, None)
            self.left_out.pop(uri, None)
            self.failed.discard(uri)
        self.sources |= {source.uri: source for source in done}
        self.left_out |= {each.source.uri: each for each in left_out}
        self.failed |= {*failed, *(each.source for each in work.unreadable)}
        for source in work.restated:
            if source.uri in self.sources:
                self.sources[source.uri] = source
            else:
                self.left_out[source.uri] = replace(self.left_out[source.uri], source=source)

    def _missing(self, places: Sequence[str], found: Collection[Source | Failure]) -> list[str]:
        """The recorded files at and below the places that were not met there. What lies in a folder that cannot be read
        stays."""
        met = {each.uri for each in found if isinstance(each, Source)}
        unread = _below(each.source for each in found if isinstance(each, Failure))
        unread_itself = {each.source for each in found if isinstance(each, Failure)}
        recorded = self.sources.keys() | self.left_out.keys() | self.failed
        missing = {place for place in places if place in recorded}
        if folders := _below(place for place in places if place not in self.sources):
            missing |= {uri for uri in recorded if uri.startswith(folders)}
        return sorted(uri for uri in missing - met - unread_itself if not uri.startswith(unread))

    def _is_unreached(self, found: Source | Failure) -> TypeGuard[SourceUnavailable]:
        """A server that is away takes nothing with it."""
        return isinstance(found, SourceUnavailable) and found.source in self.sources

    def _mended(self, places: Iterable[str], met: Iterable[Source | Failure]) -> set[str]:
        """Folders and containers that could not be read before, and now can."""
        return (self.failed & set(places)) - {_uri(each) for each in met}

    def _orphans(self, gone: Collection[str], found: Iterable[Source | Failure]) -> set[str]:
        """Near-duplicates of files that no longer stand for them."""
        standing = self.sources.keys() - set(gone) - {_uri(each) for each in found if not self._is_known(each)}
        return {uri for uri, each in self.left_out.items() if each.duplicate_of and each.duplicate_of not in standing}

    def _is_known(self, found: Source | Failure) -> bool:
        return isinstance(found, Source) and _is_same(found, self.sources.get(found.uri))


def _below(folders: Iterable[str]) -> tuple[str, ...]:
    """What the uris below the folders begin with."""
    return tuple(prefix for folder in folders for prefix in uri_prefixes(folder))


def _uri(found: Source | Failure) -> str:
    return found.uri if isinstance(found, Source) else found.source


def _is_same(source: Source, known: Source | None) -> bool:
    return known is not None and known.content_hash == source.content_hash
