"""One index run: files in, chunks with their vectors and a ledger row per file out.

    files -> reading threads: chunk, read the words in pictures -> batches across files -> model threads: caption, embed
          -> this thread, batch by batch in their order: add, complete

A file is complete only when its last chunk is stored, so a run that is cut off anywhere can be repeated.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.perception.base import TextReader
from florence_rag.pipeline.interrupts import POLL_S, KeptInterrupts
from florence_rag.pipeline.read_ahead import Read, read_ahead
from florence_rag.pipeline.stopwatch import Stopwatch
from florence_rag.pipeline.vectors import Embedded, Embedding
from florence_rag.types import Chunk, Failure, Source

ReadWords = Literal["auto", "always", "never"]
"""When to read the words in pictures. auto: in images, and in pages without a text layer."""


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


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """batch: pictures in one forward pass. threads: that decode files and read words, by default one per processor up
    to eight. ahead: how many decoded chunks may wait for the model. workers: batches that are embedded at a time, by
    default as many as the embedder asks for.
    """

    batch: int = 32
    threads: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    ahead: int = 32
    workers: int | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch with its model. ended: the sources that were read to their end when it was given away."""

    result: Future[tuple[list[Embedded], list[Failure]]]
    chunks: list[Chunk]
    ended: list[Source]


class Ingest:
    """Brings sources into an index. One object, one run.

    embedding: what makes of chunks the vectors that are stored. read_words: adds to a chunk the words in its pictures.
    watch: told where the time goes; the runs that are parts of one share it.
    """

    def __init__(
        self,
        index: ChunkIndex,
        embedding: Embedding,
        chunks_of: Callable[[Source], Iterator[Chunk]],
        *,
        read_words: Callable[[Chunk], Chunk] | None = None,
        progress: Callable[[Progress], None] | None = None,
        config: IngestConfig | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        self.index = index
        self.embedding = embedding
        self.chunks_of = chunks_of
        self.read_words = read_words
        self.progress = progress
        self.config = config or IngestConfig()
        self.failures: list[Failure] = []
        self.done: list[Source] = []
        self.watch = watch or Stopwatch()
        asked_for: int = getattr(embedding.embedder, "workers", 1)
        self._workers = self.config.workers or asked_for
        self._batch: list[Chunk] = []
        self._ended: list[Source] = []
        self._under_way: deque[_Batch] = deque()
        self._begun: set[str] = set()
        self._failed: set[str] = set()
        self.chunks = 0
        self._interrupts = KeptInterrupts()

    def run(self, sources: Sequence[Source]) -> None:
        """Index all sources; those that fail are in `failures`, the others in `done`."""
        config = self.config
        with (
            self._interrupts as kept,
            closing(
                read_ahead(sources, self._read, threads=config.threads, depth=config.ahead, check=kept.check)
            ) as reads,
            model_threads(self._workers) as models,
        ):
            for read in reads:
                self._take(read)
                if sum(max(1, len(chunk.frames)) for chunk in self._batch) >= config.batch:
                    self._give_away(models)
                    self._store(leave=self._workers)
                self._report(read.source, len(sources))
            self._give_away(models)
            self._store(leave=0)
        if sources:
            self._report(sources[-1], len(sources))

    def _read(self, source: Source) -> Iterator[Chunk]:
        """The chunks of a source with the words in their pictures."""
        chunks = iter(self.chunks_of(source))
        while True:
            with self.watch("read"):
                chunk = next(chunks, None)
            if chunk is None:
                return
            if self.read_words is not None:
                with self.watch("words"):
                    chunk = self.read_words(chunk)
            yield chunk

    def _take(self, read: Read) -> None:
        if read.source.uri in self._failed:
            return  # its first chunks could not be stored: the rest is of no use
        if read.chunk is not None:
            self._batch.append(read.chunk)
        elif read.reason:
            self.fail(read.source.uri, read.reason)
        else:
            self._ended.append(read.source)

    def fail(self, uri: str, reason: str) -> None:
        """Forget what was read of the source and record why."""
        self._failed.add(uri)
        self._batch = [chunk for chunk in self._batch if chunk.source.uri != uri]
        self.index.fail(uri, reason)
        self.failures.append(Failure(uri, reason))

    def _give_away(self, models: ThreadPoolExecutor) -> None:
        """What has gathered goes to a model."""
        result = models.submit(self.embedding, self._batch, self.watch)
        self._under_way.append(_Batch(result, self._batch, self._ended))
        self._batch, self._ended = [], []

    def _store(self, *, leave: int) -> None:
        """Store what is ready, and wait for more until so many batches are left under way."""
        while self._under_way and (len(self._under_way) > leave or self._under_way[0].result.done()):
            batch = self._under_way.popleft()
            while not wait((batch.result,), POLL_S).done:
                self._interrupts.check()
            parts, failures = batch.result.result()
            with self.watch("store"):
                self._begin(batch.chunks)
                for failure in failures:
                    if failure.source not in self._failed:
                        self.fail(failure.source, failure.reason)
                for part in parts:
                    self._add(part)
                for source in batch.ended:
                    if source.uri not in self._failed:
                        self._complete(source)

    def _begin(self, chunks: Sequence[Chunk]) -> None:
        for source in dict.fromkeys(chunk.source for chunk in chunks):
            if source.uri not in self._begun and source.uri not in self._failed:
                self.index.begin(source)
                self._begun.add(source.uri)

    def _add(self, part: Embedded) -> None:
        """Store a part of a batch, or, if the index refuses it, those of its files that it takes."""
        part = part.of(lambda uri: uri not in self._failed)
        if not part.chunks:
            return
        try:
            self.index.add(part.chunks, part.vectors, part.words)
            self.chunks += len(part.chunks)
        except InputError as error:
            files = part.by_file()
            if len(files) == 1:
                self.fail(part.chunks[0].source.uri, str(error))
            else:
                for file in files:
                    self._add(file)

    def _complete(self, source: Source) -> None:
        if source.uri in self._begun:
            self.index.complete(source)
            self.done.append(source)
        else:
            self.fail(source.uri, "there is nothing in it to index: no picture and no text")

    def _report(self, source: Source, total: int) -> None:
        if self.progress is not None:
            finished = len(self.done) + len(self.failures)
            elapsed_s = self.watch.elapsed_s
            busy = {stage: spent / elapsed_s / self._threads(stage) for stage, spent in self.watch.seconds().items()}
            step = Progress(finished, total, self.chunks, source.uri, len(self.failures), elapsed_s, busy)
            self.progress(step)

    def _threads(self, stage: str) -> int:
        return {"read": self.config.threads, "words": self.config.threads, "store": 1}.get(stage, self._workers)


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


class WordReading:
    """Adds to chunks the words in their pictures. The reader is used by all threads that decode."""

    def __init__(self, reader: TextReader, when: ReadWords) -> None:
        self.reader = reader
        self.when = when

    def __call__(self, chunk: Chunk) -> Chunk:
        """The chunk with its `ocr`, or as it is where nothing is to be read."""
        if not chunk.frames or not self._is_due(chunk):
            return chunk
        regions = (region for frame in chunk.frames for region in self.reader.read(frame))
        return replace(chunk, ocr="\n".join(dict.fromkeys(region.text for region in regions)))

    def _is_due(self, chunk: Chunk) -> bool:
        by_itself = chunk.kind == "image" or (chunk.kind == "page" and not chunk.text.strip())
        return self.when == "always" or (self.when == "auto" and by_itself)
