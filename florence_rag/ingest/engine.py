"""The stages between files and the index: read, embed. An engine runs them; another engine may run them elsewhere."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from florence_rag.deferred_signals import POLL_S
from florence_rag.embedding.base import Embedder
from florence_rag.ingest.embed_stage import EmbeddedBatch, EmbedStage
from florence_rag.ingest.prefetch import Read, read_ahead
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.types import Chunk, Failure, Source

ChunksOf = Callable[[Source], Iterator[Chunk]]
AddWords = Callable[[Chunk], Chunk]
"""Reads the words in the pictures of a chunk."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What has come out of the stages, to be stored: chunks with their vectors, files that failed, and files of which
    this is the end. source: the one last heard of."""

    source: Source
    parts: Sequence[EmbeddedBatch] = ()
    failures: Sequence[Failure] = ()
    ended: Sequence[Source] = ()


class Engine(Protocol):
    """Runs the stages. threads: how many are at work in each stage."""

    @property
    def threads(self) -> Mapping[str, int]: ...

    def run(
        self, sources: Sequence[Source], watch: StageTimer, failed: Collection[str], check: Callable[[], None]
    ) -> Generator[BatchResult, None, None]:
        """What comes of the sources, each one's chunks in order, its end last; sources interleave.

        failed: uris of which no more is wanted; it grows meanwhile. check: called while waiting, and may raise.
        """
        ...


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """batch: pictures in one forward pass; a quarter of it where several passes run at a time, each on one processor.
    threads: that decode files and read words, by default one per processor up to eight. ahead: how many decoded chunks
    may wait for the model. workers: batches that are embedded at a time, by default as many as the embedder asks for.
    """

    batch: int = 32
    threads: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    ahead: int = 32
    workers: int | None = None

    def batch_of(self, workers: int) -> int:
        """Pictures in a pass of one of so many. On one processor small passes are as fast; they wait for fewer pictures
        to be read, and at the end of a run for less of each other."""
        return self.batch if workers == 1 else max(1, self.batch // 4)


@dataclass(slots=True, eq=False)
class Batch:
    """What was read and is embedded together. failures, ended: of files whose reading has come to an end with it."""

    chunks: list[Chunk] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    ended: list[Source] = field(default_factory=list)

    def take(self, read: Read) -> None:
        if read.chunk is not None:
            self.chunks.append(read.chunk)
        elif read.reason:
            self.chunks = [chunk for chunk in self.chunks if chunk.source.uri != read.source.uri]
            self.failures.append(read.failure)
        else:
            self.ended.append(read.source)

    @property
    def pictures(self) -> int:
        """Its share of a forward pass."""
        return sum(max(1, len(chunk.frames)) for chunk in self.chunks)


class ThreadEngine:
    """The engine of one machine.

    reading threads: chunk, read words -> batches across files -> model threads: caption, embed
    """

    def __init__(
        self,
        embedding: EmbedStage,
        chunks_of: ChunksOf,
        *,
        add_words: AddWords | None = None,
        config: IngestConfig | None = None,
    ) -> None:
        self.embedding = embedding
        self._chunks_of = chunks_of
        self._add_words = add_words
        self._config = config or IngestConfig()
        self._workers = model_workers(embedding.embedder, self._config)

    @property
    def threads(self) -> Mapping[str, int]:
        """Of each stage."""
        readers, models = self._config.threads, self._workers
        return {"read": readers, "words": readers, "caption": models, "detect": models, "embed": models}

    def run(
        self, sources: Sequence[Source], watch: StageTimer, failed: Collection[str], check: Callable[[], None]
    ) -> Generator[BatchResult, None, None]:
        """As Engine says."""
        batch, under_way = Batch(), deque[Future[BatchResult]]()
        size = self._config.batch_of(self._workers)
        with closing(self._read(sources, watch, check)) as reads, model_threads(self._workers) as models:
            for read in reads:
                if read.source.uri not in failed:
                    batch.take(read)
                if batch.pictures >= size:
                    under_way.append(models.submit(self._embed, read.source, batch, watch))
                    batch = Batch()
                    yield from _finished(under_way, self._workers, check)
                yield BatchResult(read.source)
            if sources:
                under_way.append(models.submit(self._embed, sources[-1], batch, watch))
            yield from _finished(under_way, 0, check)

    def _read(
        self, sources: Sequence[Source], watch: StageTimer, check: Callable[[], None]
    ) -> Generator[Read, None, None]:
        def chunks_of(source: Source) -> Iterator[Chunk]:
            return read_chunks(source, self._chunks_of, self._add_words, watch)

        return read_ahead(sources, chunks_of, threads=self._config.threads, depth=self._config.ahead, check=check)

    def _embed(self, source: Source, batch: Batch, watch: StageTimer) -> BatchResult:
        parts, failures = self.embedding(batch.chunks, watch)
        return BatchResult(source, parts, [*batch.failures, *failures], batch.ended)


def read_chunks(source: Source, chunks_of: ChunksOf, add_words: AddWords | None, watch: StageTimer) -> Iterator[Chunk]:
    """The chunks of a source with the words in their pictures."""
    chunks = iter(chunks_of(source))
    while True:
        with watch("read"):
            chunk = next(chunks, None)
        if chunk is None:
            return
        if add_words is not None:
            with watch("words"):
                chunk = add_words(chunk)
        yield chunk


def _finished(under_way: deque[Future[BatchResult]], leave: int, check: Callable[[], None]) -> Iterator[BatchResult]:
    """The batches that are done, in their order; waits for more until so many are left under way."""
    while under_way and (len(under_way) > leave or under_way[0].done()):
        batch = under_way.popleft()
        while not wait((batch,), POLL_S).done:
            check()
        yield batch.result()


def model_workers(embedder: Embedder, config: IngestConfig) -> int:
    """How many batches are embedded at a time."""
    return config.workers or embedder.capabilities.workers


@contextmanager
def model_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for batches. Several take one processor each: threads that wait for each other inside a forward pass
    lose much of their time as soon as other threads decode pictures beside them.
    """
    pool = ThreadPoolExecutor(workers, "florence-model", initializer=_one_processor if workers > 1 else None)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _one_processor() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # of this thread alone
