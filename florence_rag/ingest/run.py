"""One index run: stores what an engine makes of sources, and keeps what became of each of them.

    sources -> engine: read, describe, embed -> this thread, batch by batch: add, complete -> report

A source is complete only when its last chunk is stored, so a run that is interrupted anywhere can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from florence_rag.deferred_signals import DeferredSignals
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch
from florence_rag.ingest.engine import BatchResult, Engine
from florence_rag.ingest.index_diff import IndexDiff
from florence_rag.ingest.near_duplicates import NearDuplicateFilter
from florence_rag.ingest.prefetch import PermanentFailure
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.types import Change, Chunk, Failure, IndexReport, NearDuplicate, SkippedSource, Source


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index run is.

    Attributes:
        files_done: The number of files that are indexed, have failed, or are near-duplicates.
        files_total: The number of files to index.
        chunks: The number of chunks stored so far.
        source: The uri of the file that was read last.
        failures: The number of files that have failed.
        elapsed_s: Seconds since the run began.
        busy: For each stage the share of that time that its threads have worked, in [0, 1].
    """

    files_done: int
    files_total: int
    chunks: int
    source: str
    failures: int
    elapsed_s: float = 0.0
    busy: Mapping[str, float] = field(default_factory=dict)

    @property
    def bottleneck(self) -> str:
        """The busiest stage, for which the others wait; "" before any has begun."""
        return max(self.busy, key=self.busy.__getitem__, default="")


class IngestRun:
    """Stores sources in an index. One object carries out one run, in any number of steps.

    Args:
        index: Where to store the chunks.
        files_total: The number of files in the run, for the progress.
        files_done: The number of them that were indexed before the run.
        progress: Called in this thread after every step.
        timer: Counts the time of the stages; runs that belong together share one.

    Attributes:
        done: The sources that are indexed.
        failures: The sources that cannot be indexed, with the reason.
        skipped: Those that future runs can skip: permanent failures and near-duplicates.
        chunks: The number of chunks stored.
    """

    def __init__(
        self,
        index: ChunkIndex,
        files_total: int,
        *,
        files_done: int = 0,
        progress: Callable[[Progress], None] | None = None,
        timer: StageTimer | None = None,
    ) -> None:
        self.done: list[Source] = []
        self.failures: list[Failure] = []
        self.skipped: list[SkippedSource] = []
        self.chunks = 0
        self.timer = timer or StageTimer()
        self.index = index
        self._files_total = files_total
        self._files_done = files_done
        self._progress = progress
        self._begun: set[str] = set()
        self._rejected: set[str] = set()

    def ingest(
        self, sources: Sequence[Source], engine: Engine, near_duplicates: NearDuplicateFilter | None = None
    ) -> None:
        """Index sources, and write all their rows before returning.

        Args:
            sources: The sources.
            engine: Reads, describes and embeds them.
            near_duplicates: Finds images that need not be indexed; None to index all.
        """
        if not sources:
            return
        with DeferredSignals() as signals:
            with closing(engine.run(sources, self.timer, self._rejected, signals.check)) as results:
                for result in results:
                    with self.timer("store"):
                        self._store(result, near_duplicates)
                    self._report_progress(result.source, engine)
            self.index.flush_buffer()

    def skip_near_duplicate(self, source: Source, original: str) -> None:
        """Record that the image of another uri stands for this source."""
        self._rejected.add(source.uri)
        self.index.mark_duplicate(source, original)
        self.skipped.append(SkippedSource(source, f"looks the same as {original!r}", original))

    def report(self, diff: IndexDiff, indexed: Collection[str]) -> IndexReport:
        """Summarize the run.

        Args:
            diff: What was to be done.
            indexed: The uris of the sources that were indexed before the run.
        """
        added = [Change("added", source.uri) for source in self.done if source.uri not in indexed]
        updated = [Change("updated", source.uri) for source in self.done if source.uri in indexed]
        removed = [Change("removed", uri) for uri in diff.gone if uri in indexed]
        failed_before = [Failure(each.source.uri, each.reason) for each in diff.skipped if not each.duplicate_of]
        skipped = (*diff.skipped, *self.skipped)
        return IndexReport(
            added=len(added),
            updated=len(updated),
            unchanged=len(diff.unchanged),
            removed=len(removed),
            failed=(*diff.unavailable, *diff.unreadable, *failed_before, *self.failures),
            near_duplicates=tuple(
                NearDuplicate(each.source.uri, each.duplicate_of) for each in skipped if each.duplicate_of
            ),
            changes=(*added, *updated, *removed),
        )

    def _store(self, result: BatchResult, near_duplicates: NearDuplicateFilter | None) -> None:
        for failure in result.failures:
            self._fail(failure)
        for part in result.parts:
            if near_duplicates is not None:
                self._skip_near_duplicates(part.chunks, near_duplicates)
            self._add(part)
        for source in result.ended:
            if source.uri not in self._rejected:
                self._complete(source)

    def _skip_near_duplicates(self, chunks: Sequence[Chunk], near_duplicates: NearDuplicateFilter) -> None:
        for chunk in chunks:
            if chunk.source.uri not in self._rejected and (original := near_duplicates.original_of(chunk)):
                self.skip_near_duplicate(chunk.source, original)

    def _add(self, batch: EmbeddedBatch) -> None:
        """Store a batch. If the index refuses it, store it source by source, so that only those at fault fail."""
        batch = batch.select(lambda uri: uri not in self._rejected)
        if not batch.chunks:
            return
        for source in dict.fromkeys(chunk.source for chunk in batch.chunks):
            if source.uri not in self._begun:
                self.index.begin(source)
                self._begun.add(source.uri)
        try:
            self.index.add(batch.chunks, batch.vectors, batch.text_vectors)
            self.chunks += len(batch.chunks)
        except InputError as error:
            parts = batch.split()
            if len(parts) == 1:
                self._fail(Failure(batch.chunks[0].source.uri, str(error)))
            else:
                for part in parts:
                    self._add(part)

    def _complete(self, source: Source) -> None:
        if source.uri in self._begun:
            self.index.complete(source)
            self.done.append(source)
        else:
            self._fail(PermanentFailure(source.uri, "there is nothing in it to index: no image and no text", source))

    def _fail(self, failure: Failure) -> None:
        """Record why a source cannot be indexed; its rows are dropped."""
        if failure.source in self._rejected:
            return
        self._rejected.add(failure.source)
        file = failure.file if isinstance(failure, PermanentFailure) else None
        self.index.fail(failure.source, failure.reason, file)
        self.failures.append(Failure(failure.source, failure.reason))
        if file is not None:
            self.skipped.append(SkippedSource(file, failure.reason))

    def _report_progress(self, source: Source, engine: Engine) -> None:
        if self._progress is None:
            return
        near_duplicates = sum(bool(each.duplicate_of) for each in self.skipped)
        done = self._files_done + len(self.done) + len(self.failures) + near_duplicates
        busy, elapsed_s = self.timer.utilization(engine.threads), self.timer.elapsed_s
        failures = len(self.failures)
        self._progress(Progress(done, self._files_total, self.chunks, source.uri, failures, elapsed_s, busy))
