"""From chunks to what an index stores of them: captions, vectors, vectors of words. Pure: any thread may do it.

A batch that fails is tried again file by file, so that only the files at fault fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from florence_rag.embedding.base import Embedder, TextEmbedder, unit_rows
from florence_rag.errors import FlorenceError, InputError
from florence_rag.ingest.moments import with_moments
from florence_rag.ingest.regions import is_region, region_view, with_regions
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.perception.base import ActionRecognizer, Captioner, Detector
from florence_rag.types import Chunk, Failure, Frame, Source, middle_frame

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBatch:
    """Chunks with what is stored beside them: vectors (N, D) and, where a text model reads them, words (N, T)."""

    chunks: list[Chunk]
    vectors: np.ndarray
    words: np.ndarray | None = None

    def of(self, keep: Callable[[str], bool]) -> EmbeddedBatch:
        """Only the chunks of sources that are to be kept."""
        rows = [i for i, chunk in enumerate(self.chunks) if keep(chunk.source.uri)]
        if len(rows) == len(self.chunks):
            return self
        words = None if self.words is None else self.words[rows]
        return EmbeddedBatch([self.chunks[i] for i in rows], self.vectors[rows], words)

    def by_file(self) -> list[EmbeddedBatch]:
        """One for each source."""
        return [self.of(uri.__eq__) for uri in dict.fromkeys(chunk.source.uri for chunk in self.chunks)]


class EmbedStage:
    """Captions, then vectors, of a batch. Errors of embedders that are not InputErrors pass: they concern all files.

    captioner: says what pictures show that have no caption yet. text_embedder: embeds all words of a chunk, for an
    index that keeps their vectors, too. detector: finds things in images, recognizer: what happens in videos; both
    become chunks beside them.
    """

    def __init__(
        self,
        embedder: Embedder,
        captioner: Captioner | None = None,
        text_embedder: TextEmbedder | None = None,
        detector: Detector | None = None,
        recognizer: ActionRecognizer | None = None,
    ) -> None:
        self.detector = detector
        self.recognizer = recognizer
        self.embedder = embedder
        self.captioner = captioner
        self.text_embedder = text_embedder

    def __call__(self, batch: list[Chunk], watch: StageTimer) -> tuple[list[EmbeddedBatch], list[Failure]]:
        """What can be stored, and the files that cannot be described or embedded."""
        captioned, failures = self._captioned(batch, watch)
        divided, undivided = self._divided(captioned, watch)
        with watch("embed"):
            parts, refused = together_or_by_file(self.embedded, divided, InputError)
        return parts, failures + undivided + refused

    def embedded(self, batch: list[Chunk]) -> EmbeddedBatch:
        """The vectors of chunks that have their captions."""
        words = embed_words(self.text_embedder, batch) if self.text_embedder else None
        return EmbeddedBatch(batch, embed_chunks(self.embedder, batch), words)

    def _captioned(self, batch: list[Chunk], watch: StageTimer) -> tuple[list[Chunk], list[Failure]]:
        if self.captioner is None:
            return batch, []
        with watch("caption"):
            # Whatever a captioning model raises, a run that took hours goes on without those pictures.
            parts, failures = together_or_by_file(partial(add_captions, self.captioner), batch, Exception)
        return [chunk for part in parts for chunk in part], failures

    def _divided(self, batch: list[Chunk], watch: StageTimer) -> tuple[list[Chunk], list[Failure]]:
        """With the regions of images and the moments of clips."""
        failures: list[Failure] = []
        finders: list[Callable[[list[Chunk]], list[Chunk]]] = []
        if self.detector is not None:
            finders.append(partial(with_regions, self.detector))
        if self.recognizer is not None:
            finders.append(partial(with_moments, self.recognizer))
        for find in finders:
            with watch("detect"):
                parts, failed = together_or_by_file(find, batch, Exception)
            batch, failures = [chunk for part in parts for chunk in part], failures + failed
        return batch, failures


def together_or_by_file(
    step: Callable[[list[Chunk]], T], batch: list[Chunk], excused: type[Exception]
) -> tuple[list[T], list[Failure]]:
    """What a step makes of a batch, in one part or one for each file, and the files that it fails on.

    Errors that are not excused pass.
    """
    try:
        return ([step(batch)] if batch else []), []
    except excused as error:
        files = by_file(batch)
        if len(files) == 1:
            return [], [Failure(batch[0].source.uri, _reason(error, batch[0].source))]
        tried = [together_or_by_file(step, chunks, excused) for chunks in files]
        return [part for parts, _ in tried for part in parts], [each for _, failures in tried for each in failures]


def by_file(chunks: Iterable[Chunk]) -> list[list[Chunk]]:
    """The chunks of each source, in their order."""
    files: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        files.setdefault(chunk.source.uri, []).append(chunk)
    return list(files.values())


def embed_chunks(embedder: Embedder, chunks: Sequence[Chunk]) -> np.ndarray:
    """(N, D): of a chunk with pictures the mean direction of its pictures, of any other the direction of its text.

    Of a region only its part of the picture counts.
    """
    vectors = np.zeros((len(chunks), embedder.info.dimension), dtype=np.float32)
    passages = [i for i, chunk in enumerate(chunks) if not chunk.frames]
    if passages:
        vectors[passages] = embedder.embed_texts([chunks[i].text for i in passages])
    owners = [i for i, chunk in enumerate(chunks) for _ in chunk.frames]
    if owners:
        shown = [_shown(embedder, chunk, frame) for chunk in chunks for frame in chunk.frames]
        np.add.at(vectors, owners, embedder.embed_images(shown))
    return unit_rows(vectors)


def _shown(embedder: Embedder, chunk: Chunk, frame: Frame) -> Frame:
    return region_view(embedder, frame, chunk.locator.box) if is_region(chunk) else frame


def embed_words(embedder: TextEmbedder, chunks: Sequence[Chunk]) -> np.ndarray:
    """(N, T): the direction of all words of a chunk: caption, text, what was read; zeros where it has none."""
    vectors = np.zeros((len(chunks), embedder.info.dimension), dtype=np.float32)
    said = ["\n".join(part for part in (chunk.caption, chunk.text, chunk.ocr) if part.strip()) for chunk in chunks]
    worded = [i for i, words in enumerate(said) if words]
    if worded:
        vectors[worded] = embedder.embed_texts([said[i] for i in worded])
    return vectors


def add_captions(captioner: Captioner, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks, and what is to be seen where nothing says it yet.

    A clip is told by its middle keyframe: it is one shot, whose other keyframes show nearly the same; their captions
    would cost as much again and count the same words twice, so that clips would be found before pictures.
    """
    due = [i for i, chunk in enumerate(chunks) if chunk.frames and not chunk.caption]
    captions = captioner.caption([middle_frame(chunks[i].frames) for i in due]) if due else []
    said = dict(zip(due, captions, strict=True))
    return [replace(chunk, caption=said[i]) if i in said else chunk for i, chunk in enumerate(chunks)]


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, FlorenceError):
        return str(error)
    log.warning("unexpected error in %s", source.uri, exc_info=error)
    return f"could not be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
