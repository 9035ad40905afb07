"""The model stages of an index run: describe a batch of chunks with captions, regions and moments, then embed it.

The stages have no side effects, so that any thread or process may run them. If a batch fails, it is tried again source
by source, so that only the sources at fault fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from florence_rag.context import Models
from florence_rag.embedding.base import Embedder, TextEmbedder, unit_rows
from florence_rag.embedding.region_view import region_view
from florence_rag.errors import FlorenceError, InputError
from florence_rag.ingest.moments import with_moments
from florence_rag.ingest.progress import StageTimer
from florence_rag.ingest.regions import is_region, with_regions
from florence_rag.perception.base import Captioner
from florence_rag.redaction import redact
from florence_rag.telemetry import get_logger
from florence_rag.types import Chunk, Failure, Source, middle_frame
from florence_rag.workers import DEFAULT_LIMITS, Limits

log = get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBatch:
    """Chunks with their vectors (N, D) and, if the index stores these, the vectors of their texts (N, T)."""

    chunks: list[Chunk]
    vectors: np.ndarray
    text_vectors: np.ndarray | None = None

    def select(self, includes: Callable[[str], bool]) -> EmbeddedBatch:
        """Return only the chunks whose source uri satisfies the condition."""
        rows = [i for i, chunk in enumerate(self.chunks) if includes(chunk.source.uri)]
        if len(rows) == len(self.chunks):
            return self
        text_vectors = None if self.text_vectors is None else self.text_vectors[rows]
        return EmbeddedBatch([self.chunks[i] for i in rows], self.vectors[rows], text_vectors)


DescribeStep = tuple[str, Callable[[list[Chunk]], list[Chunk]]]
"""The name of a stage, under which its time is counted, and a function that adds descriptions or chunks to a batch."""


@dataclass(frozen=True, slots=True)
class EmbedStage:
    """Describes a batch of chunks step by step, then embeds it; `workers` batches may be embedded at the same time."""

    embed: Callable[[list[Chunk]], EmbeddedBatch]
    steps: Sequence[DescribeStep] = ()
    workers: int = 1

    @classmethod
    def from_models(
        cls,
        models: Models,
        *,
        index_regions: bool = False,
        file_limits: Limits = DEFAULT_LIMITS,
        captions: bool = True,
    ) -> EmbedStage:
        """Load the models now, so that a missing model fails the run and not each source, and return their stage."""
        steps: list[DescribeStep] = []
        if models.captioner is not None and captions:
            steps.append(("caption", partial(add_captions, models.captioner.get())))
        if models.detector is not None and index_regions:
            steps.append(("detect", partial(with_regions, models.detector.get())))
        if models.action_recognizer is not None:
            steps.append(("actions", partial(with_moments, models.action_recognizer.get(), limits=file_limits)))
        return cls(partial(embed_batch, models), steps, workers=models.embedder.capabilities.workers)

    def __call__(self, batch: list[Chunk], timer: StageTimer) -> tuple[list[EmbeddedBatch], list[Failure]]:
        """Return what can be stored, and the sources that cannot be described or embedded."""
        failures: list[Failure] = []
        for name, describe in self.steps:
            with timer(name):
                # A run of many hours continues if a describing model raises any error for a few images.
                parts, failed = apply_with_fallback(describe, batch, Exception)
            batch = [chunk for part in parts for chunk in part]
            failures += failed
        with timer("embed"):
            # Only an InputError concerns the batch; other errors of an embedder would occur for every batch.
            embedded, failed = apply_with_fallback(self.embed, batch, InputError)
        return embedded, failures + failed


def apply_with_fallback(
    step: Callable[[list[Chunk]], T], batch: list[Chunk], handled: type[Exception]
) -> tuple[list[T], list[Failure]]:
    """Apply a step to a batch, or, if that raises a handled error, to each source, and return results and failures."""
    try:
        return ([step(batch)] if batch else []), []
    except handled as error:
        by_source: dict[Source, list[Chunk]] = {}
        for chunk in batch:
            by_source.setdefault(chunk.source, []).append(chunk)
        if len(by_source) == 1:
            return [], [Failure(batch[0].source.uri, _reason(error, batch[0].source))]
        tried = [apply_with_fallback(step, chunks, handled) for chunks in by_source.values()]
        return [part for parts, _ in tried for part in parts], [each for _, failures in tried for each in failures]


def embed_batch(models: Models, chunks: list[Chunk]) -> EmbeddedBatch:
    """Compute the vectors of chunks and, if there is a text embedder, of their texts."""
    return EmbeddedBatch(chunks, embed_chunks(models.embedder, chunks), embed_chunk_texts(models.text_embedder, chunks))


def embed_chunks(embedder: Embedder, chunks: Sequence[Chunk]) -> np.ndarray:
    """Return unit rows (N, D) float32: of a chunk with frames their mean direction, of any other that of its text.

    A region counts only the part of its frame that is inside the box.
    """
    vectors = np.zeros((len(chunks), embedder.info.dimension), dtype=np.float32)
    passages = [i for i, chunk in enumerate(chunks) if not chunk.frames]
    if passages:
        vectors[passages] = embedder.embed_texts([chunks[i].text for i in passages])
    owners = [i for i, chunk in enumerate(chunks) for _ in chunk.frames]
    if owners:
        boxes = [chunk.locator.box if is_region(chunk) else None for chunk in chunks]
        views = [region_view(embedder, frame, boxes[i]) for i, chunk in enumerate(chunks) for frame in chunk.frames]
        np.add.at(vectors, owners, embedder.embed_images(views))
    return unit_rows(vectors)


def embed_chunk_texts(embedder: TextEmbedder | None, chunks: Sequence[Chunk]) -> np.ndarray | None:
    """Return unit rows (N, T) float32 of the texts of chunks, or zeros for a chunk without text.

    Caption, text and OCR text are embedded together. Without an embedder the result is None.
    """
    if embedder is None:
        return None
    vectors = np.zeros((len(chunks), embedder.info.dimension), dtype=np.float32)
    texts = ["\n".join(part for part in (chunk.caption, chunk.text, chunk.ocr) if part.strip()) for chunk in chunks]
    with_text = [i for i, text in enumerate(texts) if text]
    if with_text:
        vectors[with_text] = embedder.embed_texts([texts[i] for i in with_text])
    return vectors


def add_captions(captioner: Captioner, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Add a caption to each chunk that has frames and no caption yet.

    The caption of a clip is that of its middle keyframe. The other keyframes belong to the same shot and show nearly
    the same; captions of them would cost as much again, and repeat words, which would rank clips before images.
    """
    missing = [i for i, chunk in enumerate(chunks) if chunk.frames and not chunk.caption]
    captions = captioner.caption([middle_frame(chunks[i].frames) for i in missing]) if missing else []
    added = dict(zip(missing, captions, strict=True))
    return [replace(chunk, caption=added[i]) if i in added else chunk for i, chunk in enumerate(chunks)]


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, FlorenceError):
        return str(error)
    log.warning("unexpected error in %s", source.uri, exc_info=error)
    return redact(f"could not be described: {type(error).__name__}: {' '.join(str(error).split())}")
