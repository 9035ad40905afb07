"""The changed files of one call of `add`: what is new is ingested, what has the bytes of another file is copied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial

from florence_rag.index.base import ChunkIndex
from florence_rag.pipeline.copies import CopiedVectors, Copying, one_of_each
from florence_rag.pipeline.engine import Engine, IngestConfig, Threads
from florence_rag.pipeline.ingest import Ingest, Progress, add_progress
from florence_rag.pipeline.stopwatch import Stopwatch
from florence_rag.pipeline.vectors import Embedding
from florence_rag.types import Failure, Source


class IndexRun:
    """One object, one run. total: how many files progress is told of. done, failures: what has come of them."""

    def __init__(
        self,
        index: ChunkIndex,
        embedding: Embedding,
        engine: Engine,
        total: int,
        *,
        progress: Callable[[Progress], None] | None = None,
        config: IngestConfig | None = None,
    ) -> None:
        self.done: list[Source] = []
        self.failures: list[Failure] = []
        self._index = index
        self._embedding = embedding
        self._engine = engine
        self._total = total
        self._progress = progress
        self._config = config
        self._chunks = 0
        self._watch = Stopwatch()

    def bring_in(self, sources: Collection[Source], known: Iterable[Source]) -> None:
        """Index the sources; known are those that the index holds."""
        written = {source.uri for source in sources}
        # What is written anew can be nobody's original: its rows may go before they are copied.
        new, copies = one_of_each(sources, [source for source in known if source.uri not in written])
        self._ingest(new, self._engine)
        if copies:
            copying = Copying(self._index, {source.uri for source in copies})
            vectors = CopiedVectors(self._embedding, self._index, copying)
            self._ingest(
                [each for each in copies if copying.has(each)], Threads(vectors, copying.chunks, config=self._config)
            )
            # Their originals have failed or changed meanwhile.
            self._ingest([each for each in copies if not copying.has(each)], self._engine)

    def _ingest(self, sources: list[Source], engine: Engine) -> None:
        so_far = Progress(len(self.done) + len(self.failures), self._total, self._chunks, "", len(self.failures))
        told = self._progress and partial(add_progress, self._progress, so_far)
        run = Ingest(self._index, engine, progress=told, watch=self._watch)
        run.run(sources)
        self.done += run.done
        self.failures += run.failures
        self._chunks += run.chunks
