"""The read stage of an index run: threads read chunks with their OCR text ahead of the models."""

from __future__ import annotations

import math
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Literal

from florence_rag.chunking import FULL_SIZE, read_frames
from florence_rag.context import LazyValue, Models
from florence_rag.deferred_signals import POLL_S
from florence_rag.errors import FlorenceError, MediaError, MemoryLimitError, TimeLimitError
from florence_rag.ingest.progress import StageTimer
from florence_rag.perception.base import OCRReader
from florence_rag.redaction import redact
from florence_rag.sources.limited import limits_at, location_of, stream_file
from florence_rag.telemetry import get_logger
from florence_rag.types import Box, Chunk, Failure, Frame, Skipped, Source
from florence_rag.workers import Limits, call_while_waiting

log = get_logger(__name__)
_WORD = re.compile(r"\w+")
_LONG, _LEGIBLE_PX, _MAX_PAGE_PX = 3, 1000, 30_000
"""The ratio of sides of a long page, such as a screenshot; its shorter and at most its longer side for OCR."""

Chunker = Callable[[Source], Iterable[Chunk | Skipped]]
"""Reads a source and yields its chunks, and records of the parts that are skipped."""

OCRMode = Literal["auto", "always", "never"]
"""Which chunks are read by OCR: all that have frames ("always"), none ("never"), or images, and what pages show without
text ("auto")."""


@dataclass(frozen=True, slots=True)
class PermanentFailure(Failure):
    """A failure that lies in the bytes of a file, so that trying again is useless until the file changes."""

    file: Source


@dataclass(frozen=True, slots=True, eq=False)
class ReadEvent:
    """A step in reading a source: a chunk, a skipped part, a failure, or, with none of them, the end of the source."""

    source: Source
    chunk: Chunk | None = None
    skipped: Skipped | None = None
    failure: Failure | None = None

    @property
    def size_bytes(self) -> int:
        """The memory of the frames."""
        return 0 if self.chunk is None else self.chunk.size_bytes


class ByteLimit:
    """Lets threads hold so many bytes together; more than that one thread holds alone."""

    def __init__(self, allowed: int) -> None:
        self._allowed, self._held = allowed, 0
        self._changed = threading.Condition()

    def acquire(self, size: int, timeout_s: float | None = None) -> bool:
        """Wait until so many bytes may be held, and return whether they are; False after the timeout."""
        with self._changed:
            fits = self._changed.wait_for(lambda: not self._held or self._held + size <= self._allowed, timeout_s)
            self._held += size if fits else 0
        return fits

    def release(self, size: int) -> None:
        """Let other threads hold these bytes."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold so many bytes inside a with block."""
        self.acquire(size)
        try:
            yield
        finally:
            self.release(size)


QUEUE_BYTES = 128 * 2**20
"""The frames that wait for the models, in bytes."""
_DETAIL = ByteLimit(128 * 2**20)
"""The frames in full size, which OCR reads in several threads."""
_IDLE_S, _STOP_S = 5.0, 1.0
_MAX_EXCEEDING = 10
"""After so many of its members have exceeded a limit, the other members of a container are read last or not at all."""
_UNREAD = (
    f"it is not read, because {_MAX_EXCEEDING} other members of its container exceeded a limit of time or memory; "
    "raise the limit and try again with florence-rag index --retry"
)
_LIMIT = re.compile(r"reading it .* the limit of ([\d,.e+]+) (s|MB)")

LoadDetail = Callable[[Chunk], tuple[Frame, ...]]
"""Returns the frames of a chunk in the size in which OCR needs them."""


@dataclass(frozen=True, slots=True)
class FileReader:
    """A chunker that reads each file in a worker process, within limits. Its own chunker must be picklable."""

    chunker: Chunker
    limits: Limits
    max_chunks: int | None = None

    def __call__(self, source: Source) -> Iterator[Chunk | Skipped]:
        """Yield what the chunker yields, and a record of the rest after so many chunks."""
        parts = stream_file(source.uri, self.chunker, source, limits=self.limits, media=source.media)
        for number, part in enumerate(parts):
            if number == self.max_chunks:
                how = "raise it with florence-rag index --max-chunks"
                reason = f"rest of a file with more than {number:,} chunks ({how})"
                yield Skipped(source.uri, reason, part.locator, number)
                return
            yield part

    def read_detail(self, chunk: Chunk) -> tuple[Frame, ...]:
        """Read the frames of a chunk again in the size in which OCR needs them, unless they have it."""
        size_px = _detail_px(chunk)
        if size_px <= max(chunk.frames[0].shape):
            return chunk.frames
        config = replace(FULL_SIZE, page_side_px=size_px)
        return read_frames(chunk.source.uri, chunk.kind, chunk.locator, chunk.metadata, config, limits=self.limits)


def _detail_px(chunk: Chunk) -> int:
    """Return the longer side in which OCR reads a frame: that of the file of an image; more for a very long page."""
    shorter_px, longer_px = sorted(chunk.frames[0].shape[:2])
    wanted_px = 0
    if chunk.source.media in ("image", "office"):
        wanted_px = max(chunk.metadata.get("width", 0), chunk.metadata.get("height", 0))
    elif chunk.source.media == "pdf" and longer_px > _LONG * shorter_px:
        wanted_px = min(_MAX_PAGE_PX, _LEGIBLE_PX * longer_px // shorter_px)
    return int(max(longer_px, wanted_px))


@dataclass(frozen=True, slots=True)
class OCRStage:
    """Adds OCR text to chunks. Several threads call the reader, which is loaded for the first chunk that needs it."""

    reader: LazyValue[OCRReader]
    mode: OCRMode

    @classmethod
    def from_models(cls, models: Models, mode: OCRMode) -> OCRStage | None:
        """Return the stage, or None if there is no reader or the mode is "never"."""
        return None if models.ocr_reader is None or mode == "never" else cls(models.ocr_reader, mode)

    def may_read(self, chunk: Chunk) -> bool:
        """Return whether there may be words to read in a chunk, whose `ocr_boxes` need not be known."""
        return bool(chunk.frames) and (chunk.kind == "page" or bool(self._boxes(chunk)))

    def __call__(self, chunk: Chunk, load_detail: LoadDetail | None = None) -> Chunk:
        """Return the chunk with its OCR text, without lines that its text has; unchanged if the mode excludes it."""
        boxes = self._boxes(chunk)
        if not chunk.frames or not boxes:
            return chunk
        known = _words(chunk.text)
        lines = (line.strip() for line in self._lines(chunk, boxes, load_detail))
        new = (line for line in lines if line and _words(line) not in known)
        return replace(chunk, ocr="\n".join(dict.fromkeys(new)))

    def _lines(self, chunk: Chunk, boxes: Sequence[Box], load_detail: LoadDetail | None) -> list[str]:
        reader, scale = self.reader.get(), _detail_px(chunk) / max(chunk.frames[0].shape)
        with _DETAIL.hold(int(chunk.size_bytes * scale**2)):
            frames = load_detail(chunk) if load_detail else chunk.frames
            parts = (_crop(frame, box) for frame in frames for box in boxes)
            return [line.text for part in parts for line in reader.read(part)]

    def _boxes(self, chunk: Chunk) -> tuple[Box, ...]:
        """Return the parts of the frames of a chunk that are read."""
        is_scan = chunk.kind == "page" and not chunk.text.strip()
        if self.mode == "always" or "image" in (chunk.kind, chunk.source.media) or is_scan:
            return ((0.0, 0.0, 1.0, 1.0),)
        return chunk.ocr_boxes


def _crop(frame: Frame, box: Box) -> Frame:
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    return frame[int(top * height) : math.ceil(bottom * height), int(left * width) : math.ceil(right * width)]


def _words(text: str) -> str:
    """Return the words of a text in one form, with a space before and after each, so that one text contains another."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def read_source(
    source: Source,
    chunker: Chunker,
    ocr: OCRStage | None,
    timer: StageTimer,
    *,
    postponed: dict[Source, int] | None = None,
    known: Mapping[Source, int] = {},
    exceeding: Counter[str] | None = None,
) -> Iterator[ReadEvent]:
    """Yield the events of one source. Any exception of a decoder becomes a failure of this source alone.

    Args:
        source: The source.
        chunker: Cuts it into chunks.
        ocr: Adds OCR text.
        timer: Counts the time of each stage.
        postponed: Receives the source and the number of its parts that were read if it seems damaged, which it may not
            be with more memory. The source then has no end.
        known: How many parts of a source were read before, which are not repeated.
        exceeding: Counts the sources of each container that have exceeded a limit. When there are too many of them, its
            other sources are postponed or fail, so that one container cannot keep all files waiting.
    """
    count, location = known.get(source, 0), location_of(source.uri)
    exceeding = Counter() if exceeding is None else exceeding
    if exceeding[location] >= _MAX_EXCEEDING:
        if postponed is None:
            yield ReadEvent(source, failure=PermanentFailure(source.uri, _UNREAD, source))
        else:
            postponed[source] = count
        return
    try:
        for event in _read_parts(source, chunker, ocr, timer, count):
            yield event
            count += 1
    except Exception as error:
        # Some decoders take a lack of memory for damage.
        if postponed is not None and isinstance(error, MediaError) and not isinstance(error, TimeLimitError):
            postponed[source] = count
        else:
            exceeding[location] += isinstance(error, TimeLimitError | MemoryLimitError)
            yield ReadEvent(source, failure=_to_failure(source, error))
    else:
        yield ReadEvent(source)


def _read_parts(
    source: Source, chunker: Chunker, ocr: OCRStage | None, timer: StageTimer, start: int
) -> Iterator[ReadEvent]:
    """Yield an event for each part of a source from the part number `start` on."""
    load_detail = chunker.read_detail if isinstance(chunker, FileReader) else None
    parts = islice(chunker(source), start, None)
    while True:
        with timer("read"):
            part = next(parts, None)
        if part is None:
            return
        if isinstance(part, Skipped):
            yield ReadEvent(source, skipped=part)
            continue
        if ocr is not None:
            with timer("ocr"):
                part = ocr(part, load_detail)
        yield ReadEvent(source, part)


def _to_failure(source: Source, error: Exception) -> Failure:
    """Return what an exception means for its source; inside the `except` block, because of the log."""
    if isinstance(error, MediaError):
        return PermanentFailure(source.uri, f"{error}{_advice(error)}", source)
    if isinstance(error, FlorenceError):
        return Failure(source.uri, str(error))
    log.warning("unexpected error in %s", source.uri, exc_info=True)
    return Failure(source.uri, redact(f"could not be read: {type(error).__name__}: {error}"))


def _advice(error: MediaError) -> str:
    """Return how to raise the limit that a file exceeds; "" if it exceeds none."""
    if isinstance(error, TimeLimitError):
        return "; raise it with florence-rag index --file-timeout (IngestConfig.file_timeout_s)"
    return (
        "; raise it with florence-rag index --memory-budget (IngestConfig.memory_budget_mb)"
        if isinstance(error, MemoryLimitError)
        else ""
    )


def is_raised(uri: str, reason: str, limits: Limits) -> bool:
    """Return whether a source failed because of a limit that is higher now."""
    found, limits = _LIMIT.match(reason), limits_at(uri, limits)
    if found is None:
        return False
    now = limits.seconds if found[2] == "s" else limits.memory_bytes and limits.memory_bytes // 2**20
    return now is None or float(found[1].replace(",", "")) < now


def is_cut_shorter(parts: Iterable[Skipped], max_chunks: int | None) -> bool:
    """Return whether the chunks of a source were limited to fewer than now."""
    limits = [part.max_chunks for part in parts if part.max_chunks is not None]
    return any(max_chunks is None or limit < max_chunks for limit in limits)


def prefetch(
    sources: Sequence[Source],
    read: Callable[[Source], Iterable[ReadEvent]],
    *,
    threads: int,
    depth: int,
    check: Callable[[], None] = lambda: None,
) -> Generator[ReadEvent | None, None, None]:
    """Read several sources at a time and yield their events, of which at most `depth` wait; sources interleave.

    The generator calls `check` while it waits, and yields None whenever there is no event for some seconds. Closing it
    stops the threads, and the worker processes for which they wait, but waits for no model that a thread runs.
    """
    readers = _Readers(sources, read, threads, depth)
    try:
        yield from readers.events(check)
    finally:
        readers.stop()


class _Readers:
    """The threads that read sources, and the events that they have read."""

    def __init__(
        self, sources: Sequence[Source], read: Callable[[Source], Iterable[ReadEvent]], threads: int, depth: int
    ) -> None:
        self._remaining = iter(tuple(sources))  # threads may share it: taking the next of a tuple is atomic
        self._read = read
        self._events: queue.Queue[ReadEvent | None] = queue.Queue(depth)
        self._held, self._stop = ByteLimit(QUEUE_BYTES), threading.Event()
        names = (f"florence-read-{number}" for number in range(threads))
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def events(self, check: Callable[[], None]) -> Iterator[ReadEvent | None]:
        """Yield the events of all threads, and None whenever there is none for some seconds."""
        running, idle_since = len(self._threads), time.monotonic()
        while running:
            check()
            try:
                event = self._events.get(timeout=POLL_S)
            except queue.Empty:
                if time.monotonic() - idle_since <= _IDLE_S:
                    continue
                yield None
            else:
                running -= event is None
                if event is not None:
                    self._held.release(event.size_bytes)
                    yield event
            idle_since = time.monotonic()

    def stop(self) -> None:
        """Stop the threads, and the worker processes for which they wait; those that run a model end later."""
        self._stop.set()
        latest = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(max(0.0, latest - time.monotonic()))

    def _run(self) -> None:
        call_while_waiting.set(partial(raise_if_set, self._stop))
        if all(self._put(event) for source in self._remaining for event in self._read(source)):
            self._put(None)

    def _put(self, event: ReadEvent | None) -> bool:
        """Wait until the event fits, and return whether it does; False after `stop`."""
        size = event.size_bytes if event else 0
        return _retry_until(self._stop, partial(self._held.acquire, size, POLL_S)) and _retry_until(
            self._stop, partial(_put, self._events, event)
        )


def raise_if_set(stop: threading.Event) -> None:
    """Raise an error that nobody sees, if a run has ended while its threads wait for a worker process."""
    if stop.is_set():
        raise FlorenceError("the run has ended")


def _retry_until(stop: threading.Event, attempt: Callable[[], bool]) -> bool:
    """Repeat an attempt until it succeeds; return False if the event is set first."""
    while not stop.is_set():
        if attempt():
            return True
    return False


def _put(events: queue.Queue[ReadEvent | None], event: ReadEvent | None) -> bool:
    try:
        events.put(event, timeout=POLL_S)
    except queue.Full:
        return False
    return True
