"""The read stage of an index run: threads read chunks with their OCR text ahead of the models."""

from __future__ import annotations

import logging
import math
import queue
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from florence_rag.chunking import FULL_SIZE, read_frames
from florence_rag.context import LazyValue, Models
from florence_rag.deferred_signals import POLL_S
from florence_rag.errors import FlorenceError, MediaError
from florence_rag.ingest.progress import StageTimer
from florence_rag.perception.base import OCRReader
from florence_rag.types import Box, Chunk, Failure, Frame, Skipped, Source

log = logging.getLogger(__name__)
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


LoadDetail = Callable[[Chunk], tuple[Frame, ...]]
"""Returns the frames of a chunk in the size in which OCR needs them."""


def read_detail(chunk: Chunk) -> tuple[Frame, ...]:
    """Read the frames of an image again in the size of its file, and a very long page so that its words are legible."""
    sides = chunk.frames[0].shape[:2]
    if chunk.source.media in ("image", "office"):
        size_px, config = max(chunk.metadata.get("width", 0), chunk.metadata.get("height", 0)), FULL_SIZE
    elif chunk.source.media == "pdf" and max(sides) > _LONG * min(sides):
        size_px = min(_MAX_PAGE_PX, _LEGIBLE_PX * max(sides) // min(sides))
        config = replace(FULL_SIZE, page_side_px=size_px)
    else:
        return chunk.frames
    if max(sides) >= size_px:
        return chunk.frames
    return read_frames(chunk.source.uri, chunk.kind, chunk.locator, chunk.metadata, config)


@dataclass(frozen=True, slots=True)
class OCRStage:
    """Adds OCR text to chunks. Several threads call the reader, which is loaded for the first chunk that needs it."""

    reader: LazyValue[OCRReader]
    mode: OCRMode

    @classmethod
    def from_models(cls, models: Models, mode: OCRMode) -> OCRStage | None:
        """Return the stage, or None if there is no reader or the mode is "never"."""
        return None if models.ocr_reader is None or mode == "never" else cls(models.ocr_reader, mode)

    def __call__(self, chunk: Chunk, load_detail: LoadDetail = read_detail) -> Chunk:
        """Return the chunk with its OCR text, without lines that its text has; unchanged if the mode excludes it."""
        boxes = self._boxes(chunk)
        if not chunk.frames or not boxes:
            return chunk
        reader = self.reader.get()
        known = _words(chunk.text)
        parts = (_crop(frame, box) for frame in load_detail(chunk) for box in boxes)
        lines = (line.text.strip() for part in parts for line in reader.read(part))
        new = (line for line in lines if line and _words(line) not in known)
        return replace(chunk, ocr="\n".join(dict.fromkeys(new)))

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


def read_source(source: Source, chunker: Chunker, ocr: OCRStage | None, timer: StageTimer) -> Iterator[ReadEvent]:
    """Yield the events of one source. Any exception of a decoder becomes a failure of this source alone."""
    try:
        chunks = iter(chunker(source))
        while True:
            with timer("read"):
                chunk = next(chunks, None)
            if chunk is None:
                break
            if isinstance(chunk, Skipped):
                yield ReadEvent(source, skipped=chunk)
                continue
            if ocr is not None:
                with timer("ocr"):
                    chunk = ocr(chunk)
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


def prefetch(
    sources: Sequence[Source],
    read: Callable[[Source], Iterable[ReadEvent]],
    *,
    threads: int,
    depth: int,
    check: Callable[[], None] = lambda: None,
) -> Generator[ReadEvent, None, None]:
    """Read several sources at a time and yield their events, of which at most `depth` wait; sources interleave.

    The generator calls `check` while it waits. Closing it stops the threads at their next chunk.
    """
    remaining = iter(tuple(sources))  # taking the next of a tuple is atomic, so threads may share the iterator
    events: queue.Queue[ReadEvent | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(event: ReadEvent | None) -> bool:
        while not stop.is_set():
            with suppress(queue.Full):
                events.put(event, timeout=POLL_S)
                return True
        return False

    def read_sources() -> None:
        if all(put(event) for source in remaining for event in read(source)):
            put(None)

    workers = [threading.Thread(target=read_sources, name=f"florence-read-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    running = threads
    try:
        while running:
            check()
            try:
                event = events.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if event is None:
                running -= 1
            else:
                yield event
    finally:
        stop.set()
        for worker in workers:
            worker.join()
