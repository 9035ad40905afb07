"""Threads that decode files while the model is busy, a bounded number of chunks ahead of it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from florence_rag.deferred_signals import POLL_S
from florence_rag.errors import FlorenceError, MediaError
from florence_rag.types import Chunk, Failure, Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One step of reading a source: a chunk, the reason why it cannot be read, or, with neither, that it was read.

    lasting: whether the reason lies in the file itself.
    """

    source: Source
    chunk: Chunk | None = None
    reason: str = ""
    lasting: bool = False

    @property
    def failure(self) -> Failure:
        """The reason, of the kind that it is."""
        return (PermanentFailure if self.lasting else Failure)(self.source.uri, self.reason)


@dataclass(frozen=True, slots=True)
class PermanentFailure(Failure):
    """A failure that lies in the bytes of a file: it is the same in every run until they change."""


def read_ahead(
    sources: Iterable[Source],
    chunks_of: Callable[[Source], Iterable[Chunk]],
    *,
    threads: int,
    depth: int,
    check: Callable[[], None] = lambda: None,
) -> Generator[Read, None, None]:
    """The chunks of all sources, each source's in order and ended by a Read without chunk; sources interleave.

    At most depth chunks wait to be taken. Closing the iterator stops the threads at their next chunk. check: called
    while waiting for them; what it raises ends the iteration.
    """
    waiting = iter(tuple(sources))  # taking the next of a tuple is one step: threads may share it
    ready: queue.Queue[Read | None] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        for source in waiting:
            for read in read_steps(source, chunks_of):
                if not _put(ready, read, stop):
                    return
        _put(ready, None, stop)

    workers = [threading.Thread(target=work, name=f"florence-read-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for _ in workers:
            yield from iter(partial(_take, ready, check), None)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def read_steps(source: Source, chunks_of: Callable[[Source], Iterable[Chunk]]) -> Iterator[Read]:
    """Whatever a broken file makes a decoder raise is that file's failure, never the end of the run."""
    try:
        for chunk in chunks_of(source):
            yield Read(source, chunk)
    except FlorenceError as error:
        yield Read(source, reason=str(error), lasting=isinstance(error, MediaError))
    except Exception as error:
        log.warning("unexpected error in %s", source.uri, exc_info=True)
        yield Read(source, reason=f"could not be read: {type(error).__name__}: {error}")
    else:
        yield Read(source)


def _take(ready: queue.Queue[Read | None], check: Callable[[], None]) -> Read | None:
    while True:
        check()
        try:
            return ready.get(timeout=POLL_S)
        except queue.Empty:
            continue


def _put(ready: queue.Queue[Read | None], item: Read | None, stop: threading.Event) -> bool:
    """Wait for room; False where nobody takes any more."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=POLL_S)
        except queue.Full:
            continue
        return True
    return False
