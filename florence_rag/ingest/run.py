"""One index run: stores the chunks that an engine embeds, and records the outcome of each source.

    sources -> engine: read, describe, embed -> this thread, batch by batch: add, complete -> report

A source is complete only when its last chunk is stored, so a run that is interrupted anywhere can be repeated.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain

from florence_rag.deferred_signals import DeferredSignals
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.index_report import Change, IndexReport, NearDuplicate
from florence_rag.ingest.duplicates import NearDuplicateFilter
from florence_rag.ingest.embed_stage import EmbeddedBatch
from florence_rag.ingest.engine import Engine
from florence_rag.ingest.index_diff import IndexDiff
from florence_rag.ingest.progress import Progress, StageTimer
from florence_rag.ingest.read_stage import PermanentFailure
from florence_rag.telemetry import get_logger
from florence_rag.types import Chunk, Failure, RejectedSource, Skipped, Source

log = get_logger(__name__)

MAX_SKIPPED_PARTS = 100
"""The most parts of one source that are reported as skipped."""


@dataclass(slots=True, eq=False)
class IngestRun:
    """Stores sources in an index. One object carries out one run, in any number of steps.

    The progress counts `files_total` files, of which `files_done` were indexed before the run. Future runs need not
    read the sources in `rejected`, which are permanent failures and near-duplicates. `skipped` holds the parts of
    sources that are not read, by uri. `words_follow` returns the marks of the words that another pass may read of a
    chunk.
    """

    index: ChunkIndex
    files_total: int
    files_done: int = 0
    progress: Callable[[Progress], None] | None = None
    words_follow: Callable[[Chunk], Collection[str]] | None = None
    done: list[Source] = field(default_factory=list, init=False)
    failures: list[Failure] = field(default_factory=list, init=False)
    rejected: list[RejectedSource] = field(default_factory=list, init=False)
    skipped: dict[str, list[Skipped]] = field(default_factory=dict, init=False)
    chunks: int = field(default=0, init=False)
    timer: StageTimer = field(default_factory=StageTimer, init=False)
    _begun: dict[str, Source] = field(default_factory=dict, init=False)
    _dropped: set[str] = field(default_factory=set, init=False)
    _pending_words: dict[str, set[str]] = field(default_factory=dict, init=False)

    def ingest(
        self, sources: Sequence[Source], engine: Engine, near_duplicates: NearDuplicateFilter | None = None
    ) -> None:
        """Index sources, except near-duplicates if a filter is given, and write all their rows before returning.

        After an error or an interruption, no search finds a part of a source.
        """
        if not sources:
            return
        with DeferredSignals() as signals, self._discarding_begun():
            with closing(engine.run(sources, self.timer, self._dropped, signals.check)) as results:
                for result in results:
                    with self.timer("store"):
                        for failure in result.failures:
                            self._fail(failure)
                        for part in result.skipped:
                            self._skip(part)
                        for batch in result.parts:
                            self._add(batch, near_duplicates)
                        for source in result.ended:
                            self._end(source)
                        if result.is_idle:
                            self.index.flush_buffer()
                    self._report_progress(result.source)
            self.index.flush_buffer()

    @contextmanager
    def _discarding_begun(self) -> Iterator[None]:
        """If the block fails, discard the sources of which not all chunks are stored, except those that failed."""
        try:
            yield
        except BaseException:
            for uri in self._begun.keys() - self._dropped:
                self.index.discard(self._begun[uri])
            raise

    def skip_near_duplicate(self, source: Source, original: str) -> None:
        """Record that the image of another uri stands for this source."""
        self._dropped.add(source.uri)
        self.skipped.pop(source.uri, None)
        self.index.mark_duplicate(source, original)
        self.rejected.append(RejectedSource(source, duplicate_of=original))

    def fail_like(self, source: Source, failed: RejectedSource) -> None:
        """Record that a source has the bytes of another one, which cannot be indexed."""
        name, other = (repr(uri)[1:-1] for uri in (source.uri, failed.source.uri))
        self._fail(PermanentFailure(source.uri, failed.reason.replace(other, name), source))

    def report(self, diff: IndexDiff, indexed: Collection[str]) -> IndexReport:
        """Summarize the run; `indexed` are the uris of the sources that were indexed before it."""
        added = [Change("added", source.uri) for source in self.done if source.uri not in indexed]
        updated = [Change("updated", source.uri) for source in self.done if source.uri in indexed]
        removed = [Change("removed", uri) for uri in diff.gone if uri in indexed]
        failed_before = [Failure(each.source.uri, each.reason) for each in diff.rejected if not each.duplicate_of]
        rejected = (*diff.rejected, *self.rejected)
        skipped = diff.skipped
        skipped.extend(chain.from_iterable(self.skipped.values()))
        return IndexReport(
            added=len(added),
            updated=len(updated),
            unchanged=len(diff.unchanged),
            removed=len(removed),
            failed=(*diff.unavailable, *diff.unreadable, *failed_before, *self.failures),
            near_duplicates=tuple(
                NearDuplicate(each.source.uri, each.duplicate_of) for each in rejected if each.duplicate_of
            ),
            skipped=tuple(sorted(skipped.records, key=lambda each: each.source)),
            skipped_counts=skipped.by_reason,
            changes=(*added, *updated, *removed),
        )

    def _add(self, batch: EmbeddedBatch, near_duplicates: NearDuplicateFilter | None = None) -> None:
        """Store a batch. If the index refuses it, store it source by source, so that only those at fault fail."""
        if near_duplicates is not None:
            for chunk in batch.chunks:
                if chunk.source.uri not in self._dropped and (original := near_duplicates.original_of(chunk)):
                    self.skip_near_duplicate(chunk.source, original)
        batch = batch.select(lambda uri: uri not in self._dropped)
        if not batch.chunks:
            return
        sources = list(dict.fromkeys(chunk.source for chunk in batch.chunks))
        for source in sources:
            if source.uri not in self._begun:
                self.index.begin(source)
                self._begun[source.uri] = source
        if self.words_follow is not None:
            for chunk in batch.chunks:
                self._pending_words.setdefault(chunk.source.uri, set()).update(self.words_follow(chunk))
        try:
            self.index.add(batch.chunks, batch.vectors, batch.text_vectors)
            self.chunks += len(batch.chunks)
        except InputError as error:
            if len(sources) == 1:
                self._fail(Failure(sources[0].uri, str(error)))
            else:
                for source in sources:
                    self._add(batch.select(source.uri.__eq__))

    def _skip(self, part: Skipped) -> None:
        if part.source in self._dropped:
            return
        fields = {"event": "file.skipped", "source": part.source, "reason": part.reason}
        log.debug("a part of %s is skipped: %s", part.source, part.reason, extra=fields)
        # The last one may tell of all the rest of the source.
        self.skipped.setdefault(part.source, [])[MAX_SKIPPED_PARTS - 1 :] = [part]

    def _end(self, source: Source) -> None:
        """Complete a source after its last chunk, or record that it has none."""
        has_begun, marks = source.uri in self._begun, self._pending_words.pop(source.uri, ())
        self._begun.pop(source.uri, None)
        if has_begun and source.uri not in self._dropped:
            if marks:
                # They come first and do not count to the limit, so that neither they nor the last part are lost.
                parts = self.skipped.get(source.uri, [])
                self.skipped[source.uri] = [*(Skipped(source.uri, mark) for mark in sorted(marks)), *parts]
            self.index.complete(source, self.skipped.get(source.uri, ()))
            self.done.append(source)
        else:
            reason = "there is nothing in it to index: no image and no text"
            self._fail(PermanentFailure(source.uri, reason, source))

    def _fail(self, failure: Failure) -> None:
        """Record why a source cannot be indexed; its rows are dropped."""
        if failure.source in self._dropped:
            return
        self._dropped.add(failure.source)
        fields = {"event": "file.failed", "source": failure.source, "reason": failure.reason}
        log.info("%s cannot be indexed: %s", failure.source, failure.reason, extra=fields)
        file = failure.file if isinstance(failure, PermanentFailure) else None
        self.index.fail(failure.source, failure.reason, file)
        self.failures.append(Failure(failure.source, failure.reason))
        self.skipped.pop(failure.source, None)
        if file is not None:
            self.rejected.append(RejectedSource(file, failure.reason))

    def _report_progress(self, source: Source) -> None:
        if self.progress is not None:
            step = Progress(
                files_done=self.files_done + len(self.done) + len(self._dropped),
                files_total=self.files_total,
                chunks=self.chunks,
                source=source.uri,
                failures=len(self.failures),
                elapsed_s=self.timer.elapsed_s,
                busy=self.timer.utilization(),
            )
            self.progress(step)
