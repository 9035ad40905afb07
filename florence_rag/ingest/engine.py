"""Engines run the stages between sources and the index: read, OCR, describe, embed.

Here are the protocol, and the engine that uses the threads of this process.
"""

import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, ParamSpec, Protocol, Self, TypeVar

from florence_rag.deferred_signals import POLL_S
from florence_rag.errors import InputError
from florence_rag.ingest.embed_stage import EmbeddedBatch, EmbedStage
from florence_rag.ingest.progress import StageTimer
from florence_rag.ingest.read_stage import Chunker, OCRStage, ReadEvent, prefetch, raise_if_set, read_source
from florence_rag.types import Chunk, Failure, Skipped, Source
from florence_rag.validation import validate_arguments
from florence_rag.workers import Limits, call_while_waiting, close_workers

P = ParamSpec("P")
T = TypeVar("T")

_BUFFERS_MB, _BATCHES_MB, _PROCESS_MB, _MIN_BUDGET_MB = 512, 256, 48, 768
"""What frames use in this process, what batches use of that, and a worker process before it reads; the least budget."""
_LONGEST = 30
"""How much longer a file with many chunks may take. With the default, videos of two hours and long PDFs end before."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What an engine passes on to be stored.

    Attributes:
        source: The source that was read last, for the progress.
        parts: Chunks with their vectors.
        failures: Sources that cannot be read, described or embedded.
        skipped: Parts of sources that are not read.
        ended: Sources of which all chunks are in this result or an earlier one.
        is_idle: Whether all sources that are being read take long, so that buffers should be written.
    """

    source: Source
    parts: Sequence[EmbeddedBatch] = ()
    failures: Sequence[Failure] = ()
    skipped: Sequence[Skipped] = ()
    ended: Sequence[Source] = ()
    is_idle: bool = False


class Engine(Protocol):
    """Runs the stages of an index run."""

    def run(
        self, sources: Sequence[Source], timer: StageTimer, failed: Collection[str], check: Callable[[], None]
    ) -> Generator[BatchResult, None, None]:
        """Read, describe and embed sources.

        Args:
            sources: The sources to index, at least one.
            timer: Counts the time of each stage; the engine sets the number of its threads.
            failed: The uris of sources whose further chunks are useless. It grows while the engine runs.
            check: Call it while waiting. It may raise an exception, which ends the run.

        Yields:
            Results in which the chunks of a source come before its end. Sources interleave.
        """
        ...


@validate_arguments
@dataclass(frozen=True, slots=True)
class IngestConfig:
    """The sizes of the buffers and pools of an index run.

    Args:
        batch_size: The number of images in one forward pass. If several passes run at the same time, each on one
            processor, it is a quarter of this.
        threads: The number of threads that read files and run OCR. By default one per processor, at most eight.
        prefetch: The number of chunks that may wait for the models.
        workers: The number of batches that are embedded at the same time. By default as many as the embedder supports.
        file_timeout_s: The time in seconds that reading a file may take, and 2 s more for each page or passage and 10 s
            for each clip of a video, at most 30 times as long in all. For a file on a server, the time to begin with is
            ten times as long. None: no limit.
        max_chunks_per_file: The most chunks of a file that are indexed; a few kB of a PDF may stand for any number of
            pages. What is skipped is reported. None: no limit.
        memory_budget_mb: The memory in MB that a run may use in addition to the models, at least 768. A file that needs
            more than its share of it is read alone. Only Linux can limit the memory.

    Raises:
        InputError: If a limit is out of its range.
    """

    batch_size: int = 32
    threads: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    prefetch: int = 32
    workers: int | None = None
    file_timeout_s: float | None = 60.0
    max_chunks_per_file: int | None = 10_000
    memory_budget_mb: int = 2048

    def __post_init__(self) -> None:
        if self.file_timeout_s is not None and not self.file_timeout_s > 0:
            raise InputError(f"file_timeout_s is {self.file_timeout_s!r}; give more than 0, or None for no limit")
        if self.max_chunks_per_file is not None and self.max_chunks_per_file < 1:
            raise InputError(
                f"max_chunks_per_file is {self.max_chunks_per_file!r}; give at least 1, or None for no limit"
            )
        if self.memory_budget_mb < _MIN_BUDGET_MB:
            raise InputError(f"memory_budget_mb is {self.memory_budget_mb!r}; give at least {_MIN_BUDGET_MB}")

    def limits(self, readers: int) -> Limits:
        """Return what a file may use if so many files are read at the same time."""
        share_mb = (self.memory_budget_mb - _BUFFERS_MB) // readers - _PROCESS_MB
        memory_bytes = max(_PROCESS_MB, share_mb) * 2**20
        return Limits(
            self.file_timeout_s, max_seconds=_LONGEST * (self.file_timeout_s or 0.0), memory_bytes=memory_bytes
        )

    def batch_size_for(self, workers: int) -> int:
        """Return the number of images per pass if so many workers share the processors."""
        # On one processor small passes are as fast as large ones, and workers wait less for each other at the end.
        return self.batch_size if workers == 1 else max(1, self.batch_size // 4)


@dataclass(slots=True, eq=False)
class Batch:
    """Chunks that are embedded together, and what was skipped, failed or ended while the batch was filled."""

    chunks: list[Chunk] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    ended: list[Source] = field(default_factory=list)

    def add(self, event: ReadEvent) -> None:
        """Add an event. A failure removes the earlier chunks of its source."""
        if event.chunk is not None:
            self.chunks.append(event.chunk)
        elif event.skipped is not None:
            self.skipped.append(event.skipped)
        elif event.failure is not None:
            self.chunks = [chunk for chunk in self.chunks if chunk.source.uri != event.source.uri]
            self.failures.append(event.failure)
        else:
            self.ended.append(event.source)

    @property
    def size(self) -> int:
        """The number of images or texts in a forward pass."""
        return sum(max(1, len(chunk.frames)) for chunk in self.chunks)

    @property
    def size_mb(self) -> int:
        """The memory of the frames in MB."""
        return sum(chunk.size_bytes for chunk in self.chunks) // 2**20

    def embed(self, stage: EmbedStage, timer: StageTimer, source: Source) -> BatchResult:
        """Describe and embed the chunks. Source is the one that was read last."""
        parts, failures = stage(self.chunks, timer)
        return BatchResult(source, parts, [*self.failures, *failures], self.skipped, self.ended)


class BatchPool(Generic[T]):
    """Threads that work on batches and return the results in order of submission.

    Several threads get one processor each: threads that wait for each other inside a forward pass lose much of their
    time as soon as other threads decode images at the same time.
    """

    def __init__(self, workers: int) -> None:
        self._pending: deque[Future[T]] = deque()
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(workers, "florence-model", self._prepare, (workers > 1,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Stop. After an error or an interruption nobody waits for a forward pass, whose result is of no use."""
        self._stop.set()
        self._threads.shutdown(wait=kind is None, cancel_futures=True)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin to work on a batch."""
        self._pending.append(self._threads.submit(function, *args, **kwargs))

    def results(self, *, max_pending: int = 0, check: Callable[[], None] = lambda: None) -> Iterator[T]:
        """Yield finished results until at most `max_pending` batches are left, and call `check` while waiting."""
        while self._pending and (len(self._pending) > max_pending or self._pending[0].done()):
            batch = self._pending.popleft()
            while not wait((batch,), POLL_S).done:
                check()
            yield batch.result()

    def _prepare(self, use_one_processor: bool) -> None:
        call_while_waiting.set(partial(raise_if_set, self._stop))
        torch = sys.modules.get("torch")
        if torch and use_one_processor:
            torch.set_num_threads(1)  # applies to the calling thread only


@dataclass(frozen=True, slots=True)
class ThreadEngine:
    """Runs the stages in threads of this process.

    reader threads: chunk, OCR -> batches across sources -> model threads: describe, embed

    Sources that seem damaged to the chunker are read again, last and one by one, by `lone_chunker` with more memory.
    """

    stage: EmbedStage
    chunker: Chunker
    ocr: OCRStage | None = None
    config: IngestConfig | None = None
    lone_chunker: Chunker | None = None

    def run(
        self, sources: Sequence[Source], timer: StageTimer, failed: Collection[str], check: Callable[[], None]
    ) -> Generator[BatchResult, None, None]:
        """Run the stages as `Engine.run` does, with the results in the order of the batches."""
        config = self.config or IngestConfig()
        workers = config.workers or self.stage.workers
        timer.set_threads(readers=config.threads, workers=workers)
        batch, size, size_mb = Batch(), config.batch_size_for(workers), _BATCHES_MB // (workers + 2)
        last = sources[0]
        with closing(self._read(sources, timer, check)) as events, BatchPool[BatchResult](workers) as pool:
            for event in events:
                if event is not None:
                    last = event.source
                    if last.uri not in failed:
                        batch.add(event)
                if event is None or batch.size >= size or batch.size_mb >= size_mb:
                    pool.submit(batch.embed, self.stage, timer, last)
                    batch = Batch()
                    yield from pool.results(max_pending=0 if event is None else workers, check=check)
                yield BatchResult(last, is_idle=event is None)
            pool.submit(batch.embed, self.stage, timer, last)
            yield from pool.results(check=check)

    def _read(
        self, sources: Sequence[Source], timer: StageTimer, check: Callable[[], None]
    ) -> Generator[ReadEvent | None, None, None]:
        """Yield the events of sources as `prefetch` does, those of large sources last."""
        config, large = self.config or IngestConfig(), dict[Source, int]()
        fetch = partial(prefetch, depth=config.prefetch, check=check)
        read = partial(read_source, ocr=self.ocr, timer=timer)
        postponed = large if self.lone_chunker else None
        first = partial(read, chunker=self.chunker, postponed=postponed, exceeding=Counter())
        yield from fetch(sources, first, threads=config.threads)
        if self.lone_chunker and large:
            close_workers(keep=1)  # the others may hold memory for their next files
            last = partial(read, chunker=self.lone_chunker, known=large, exceeding=Counter())
            yield from fetch(list(large), last, threads=1)
