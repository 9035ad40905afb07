"""The changed files of one call of `add`: what is new is ingested, what has the bytes of another file is copied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.content_dedup import DuplicateResolver, ReusedVectors, split_duplicates
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import Engine, IngestConfig, ThreadEngine
from florence_rag.ingest.index_diff import IndexDiff
from florence_rag.ingest.ingest import Ingest, Progress, add_progress
from florence_rag.ingest.near_duplicates import NearDuplicateFilter
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.types import Change, Failure, IndexReport, NearDuplicate, SkippedSource, Source


class IndexRun:
    """One object, one run. total: how many files progress is told of. done, failures, left_out: what has come of them.

    standing: pictures whose near-duplicates are left out.
    """

    def __init__(
        self,
        index: ChunkIndex,
        embedding: EmbedStage,
        engine: Engine,
        total: int,
        *,
        progress: Callable[[Progress], None] | None = None,
        config: IngestConfig | None = None,
        standing: NearDuplicateFilter | None = None,
    ) -> None:
        self.done: list[Source] = []
        self.failures: list[Failure] = []
        self.left_out: list[SkippedSource] = []
        self._standing = standing
        self._index = index
        self._embedding = embedding
        self._engine = engine
        self._total = total
        self._progress = progress
        self._config = config
        self._chunks = 0
        self._watch = StageTimer()

    def bring_in(self, sources: Collection[Source], known: Iterable[Source]) -> None:
        """Index the sources; known are those that the index holds."""
        written = {source.uri for source in sources}
        # What is written anew can be nobody's original: its rows may go before they are copied.
        new, copies = split_duplicates(sources, [source for source in known if source.uri not in written])
        self._ingest(new, self._engine)
        if copies:
            copying = DuplicateResolver(self._index, {source.uri for source in copies})
            copies = [each for each in copies if not self._is_left_out(each, copying)]
            vectors = ReusedVectors(self._embedding, self._index, copying)
            self._ingest(
                [each for each in copies if copying.has(each)],
                ThreadEngine(vectors, copying.chunks, config=self._config),
            )
            # Their originals have failed or changed meanwhile.
            self._ingest([each for each in copies if not copying.has(each)], self._engine)

    def _is_left_out(self, source: Source, copying: DuplicateResolver) -> bool:
        """A copy looks the same, too; but one that takes the place of its original is wanted."""
        if self._standing is None or source.media != "image" or not copying.has(source):
            return False
        if not self._standing.has(duplicate_of := copying.original(source).uri):
            return False
        self._index.mark_duplicate(source, duplicate_of)
        self.left_out.append(SkippedSource(source, f"looks the same as {duplicate_of!r}", duplicate_of))
        return True

    def _ingest(self, sources: list[Source], engine: Engine) -> None:
        near_duplicates = sum(bool(each.duplicate_of) for each in self.left_out)
        finished = len(self.done) + len(self.failures) + near_duplicates
        so_far = Progress(finished, self._total, self._chunks, "", len(self.failures))
        told = self._progress and partial(add_progress, self._progress, so_far)
        run = Ingest(self._index, engine, progress=told, watch=self._watch, standing=self._standing)
        run.run(sources)
        self.done += run.done
        self.failures += run.failures
        self.left_out += run.left_out
        self._chunks += run.chunks


def report_of(work: IndexDiff, run: IndexRun | None = None, before: Mapping[str, Source] = {}) -> IndexReport:
    """What has come of the work. run: what was brought in, if anything. before: the sources that the index held."""
    done, failures, left_out = (run.done, run.failures, run.left_out) if run else ([], [], [])
    added = [Change("added", source.uri) for source in done if source.uri not in before]
    updated = [Change("updated", source.uri) for source in done if source.uri in before]
    removed = [Change("removed", uri) for uri in work.gone if uri in before]
    failed = [Failure(each.source.uri, each.reason) for each in work.standing if not each.duplicate_of]
    alike = [
        NearDuplicate(each.source.uri, each.duplicate_of) for each in (*work.standing, *left_out) if each.duplicate_of
    ]
    return IndexReport(
        added=len(added),
        updated=len(updated),
        unchanged=len(work.unchanged),
        removed=len(removed),
        failed=(*work.unreached, *work.unreadable, *failed, *failures),
        near_duplicates=tuple(alike),
        changes=(*added, *updated, *removed),
    )
