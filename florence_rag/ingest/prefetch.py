"""Threads that read sources ahead of the models, by a bounded number of chunks."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from florence_rag.deferred_signals import POLL_S
from florence_rag.errors import FlorenceError, MediaError
from florence_rag.types import Chunk, Failure, Source

log = logging.getLogger(__name__)

Chunker = Callable[[Source], Iterable[Chunk]]
"""Reads a source and yields its chunks."""


@dataclass(frozen=True, slots=True)
class PermanentFailure(Failure):
    """A failure that lies in the bytes of a file, so that trying again is useless until the file changes."""

    file: Source


@dataclass(frozen=True, slots=True, eq=False)
class ReadEvent:
    """A step in reading a source: a chunk, a failure, or, with neither of them, the end of the source."""

    source: Source
    chunk: Chunk | None = None
    failure: Failure | None = None


def prefetch(
    sources: Sequence[Source],
    chunker: Chunker,
    *,
    threads: int,
    depth: int,
    check: Callable[[], None] = lambda: None,
) -> Generator[ReadEvent, None, None]:
    """Yield the events of all sources, those of each source in order; sources interleave.

    Closing the generator stops the threads at their next chunk.

    Args:
        sources: The sources to read.
        chunker: Reads one source.
        threads: The number of sources that are read at the same time.
        depth: The number of events that may wait to be taken.
        check: Called while the generator waits; an exception that it raises ends the generator.
    """
    remaining = iter(tuple(sources))  # taking the next of a tuple is atomic, so threads may share the iterator
    ready: queue.Queue[ReadEvent | None] = queue.Queue(depth)
    stop = threading.Event()

    def read_sources() -> None:
        for source in remaining:
            for event in read_source(source, chunker):
                if not _put(ready, event, stop):
                    return
        _put(ready, None, stop)

    workers = [threading.Thread(target=read_sources, name=f"florence-read-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for _ in workers:
            yield from iter(partial(_take, ready, check), None)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def read_source(source: Source, chunker: Chunker) -> Iterator[ReadEvent]:
    """Yield the events of one source. Any exception of a decoder becomes a failure of this source alone."""
    try:
        for chunk in chunker(source):
            yield ReadEvent(source, chunk)
    except MediaError as error:
        yield ReadEvent(source, failure=PermanentFailure(source.uri, str(error), source))
    except FlorenceError as error:
        yield ReadEvent(source, failure=Failure(source.uri, str(error)))
    except Exception as error:
        log.warning("unexpected error in %s", source.uri, exc_info=True)
        yield ReadEvent(source, failure=Failure(source.uri, f"could not be read: {type(error).__name__}: {error}"))
    else:
        yield ReadEvent(source)


def _take(ready: queue.Queue[ReadEvent | None], check: Callable[[], None]) -> ReadEvent | None:
    while True:
        check()
        try:
            return ready.get(timeout=POLL_S)
        except queue.Empty:
            continue


def _put(ready: queue.Queue[ReadEvent | None], event: ReadEvent | None, stop: threading.Event) -> bool:
    """Wait for room in the queue; return False if the consumer has stopped."""
    while not stop.is_set():
        try:
            ready.put(event, timeout=POLL_S)
        except queue.Full:
            continue
        return True
    return False
