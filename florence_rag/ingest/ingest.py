"""One index run: files in, chunks with their vectors and a ledger row per file out.

    files -> engine: read, caption, embed -> this thread, batch by batch: add, complete

A file is complete only when its last chunk is stored, so a run that is cut off anywhere can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from florence_rag.deferred_signals import DeferredSignals
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch
from florence_rag.ingest.engine import BatchResult, Engine
from florence_rag.ingest.near_duplicates import NearDuplicateFilter
from florence_rag.ingest.prefetch import PermanentFailure
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.types import Chunk, Failure, SkippedSource, Source


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index run is. files_total counts those to be indexed; source is the one last heard of.

    elapsed_s: since the run began. busy: how much of that time each stage was at work, in [0, 1] of all its threads;
    what is busy nearly all the time is what the others wait for.
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
        """The busiest stage; "" before any has begun."""
        return max(self.busy, key=self.busy.__getitem__, default="")


def add_progress(progress: Callable[[Progress], None], so_far: Progress, step: Progress) -> None:
    """Tell the progress of a part of a run as that of the whole."""
    progress(
        replace(
            step,
            files_done=so_far.files_done + step.files_done,
            files_total=so_far.files_total,
            chunks=so_far.chunks + step.chunks,
            failures=so_far.failures + step.failures,
        )
    )


class Ingest:
    """Brings sources into an index. One object, one run.

    engine: makes of files chunks with their vectors. watch: told where the time goes; runs that are parts of one share
    it. standing: pictures whose near-duplicates are left out. left_out: those, and what cannot be read as it is.
    """

    def __init__(
        self,
        index: ChunkIndex,
        engine: Engine,
        *,
        progress: Callable[[Progress], None] | None = None,
        watch: StageTimer | None = None,
        standing: NearDuplicateFilter | None = None,
    ) -> None:
        self.index = index
        self.engine = engine
        self.progress = progress
        self.failures: list[Failure] = []
        self.done: list[Source] = []
        self.left_out: list[SkippedSource] = []
        self.chunks = 0
        self._standing = standing
        self._sources: dict[str, Source] = {}
        self.watch = watch or StageTimer()
        self._begun: set[str] = set()
        self._failed: set[str] = set()
        self._interrupts = DeferredSignals()

    def run(self, sources: Sequence[Source]) -> None:
        """Index all sources; those that fail are in `failures`, near-duplicates in `left_out`, the others in `done`."""
        self._sources = {source.uri: source for source in sources}
        with (
            self._interrupts as kept,
            closing(self.engine.run(sources, self.watch, self._failed, kept.check)) as stages,
        ):
            for ready in stages:
                self._store(ready)
                self._report(ready.source, len(sources))

    def fail(self, failure: Failure) -> None:
        """Forget what is stored of the source and record why."""
        if failure.source not in self._failed:
            self._failed.add(failure.source)
            lasting = self._sources[failure.source] if isinstance(failure, PermanentFailure) else None
            self.index.fail(failure.source, failure.reason, lasting)
            self.failures.append(Failure(failure.source, failure.reason))
            if lasting:
                self.left_out.append(SkippedSource(lasting, failure.reason))

    def _store(self, ready: BatchResult) -> None:
        with self.watch("store"):
            for failure in ready.failures:
                self.fail(failure)
            for part in ready.parts:
                if self._standing:
                    self._leave_out_alike(part.chunks, self._standing)
                self._add(part)
            for source in ready.ended:
                if source.uri not in self._failed:
                    self._complete(source)

    def mark_duplicate(self, source: Source, duplicate_of: str) -> None:
        """Record which picture stands for that of the source."""
        self._failed.add(source.uri)
        self.index.mark_duplicate(source, duplicate_of)
        self.left_out.append(SkippedSource(source, f"looks the same as {duplicate_of!r}", duplicate_of))

    def _leave_out_alike(self, chunks: Sequence[Chunk], standing: NearDuplicateFilter) -> None:
        for chunk in chunks:
            if chunk.source.uri not in self._failed and (duplicate_of := standing.for_chunk(chunk)):
                self.mark_duplicate(chunk.source, duplicate_of)

    def _add(self, part: EmbeddedBatch) -> None:
        """Store a part of a batch, or, if the index refuses it, those of its files that it takes."""
        part = part.of(lambda uri: uri not in self._failed)
        if not part.chunks:
            return
        for source in dict.fromkeys(chunk.source for chunk in part.chunks):
            if source.uri not in self._begun:
                self.index.begin(source)
                self._begun.add(source.uri)
        try:
            self.index.add(part.chunks, part.vectors, part.words)
            self.chunks += len(part.chunks)
        except InputError as error:
            files = part.by_file()
            if len(files) == 1:
                self.fail(Failure(part.chunks[0].source.uri, str(error)))
            else:
                for file in files:
                    self._add(file)

    def _complete(self, source: Source) -> None:
        if source.uri in self._begun:
            self.index.complete(source)
            self.done.append(source)
        else:
            self.fail(PermanentFailure(source.uri, "there is nothing in it to index: no picture and no text"))

    def _report(self, source: Source, total: int) -> None:
        if self.progress is not None:
            finished = len(self.done) + len(self.failures) + sum(bool(each.duplicate_of) for each in self.left_out)
            elapsed_s, threads = self.watch.elapsed_s, self.engine.threads
            busy = {stage: spent / elapsed_s / threads.get(stage, 1) for stage, spent in self.watch.seconds().items()}
            step = Progress(finished, total, self.chunks, source.uri, len(self.failures), elapsed_s, busy)
            self.progress(step)
