"""One index run: files in, chunks with their vectors and a ledger row per file out.

    files -> read ahead, in threads: chunk, read the words -> batches across files: caption, embed, add -> complete

A file is complete only when its last chunk is stored, so a run that is cut off anywhere can be repeated. A batch that
fails is tried again file by file, so that only the files at fault fail.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np

from florence_rag.embedding.base import Embedder, TextEmbedder, unit_rows
from florence_rag.errors import FlorenceError, InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.perception.base import Captioner, TextReader
from florence_rag.pipeline.read_ahead import Read, read_ahead
from florence_rag.types import Chunk, Failure, Source

log = logging.getLogger(__name__)

ReadWords = Literal["auto", "always", "never"]
"""When to read the words in pictures. auto: in images, and in pages without a text layer."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index run is. files_total counts those to be indexed; source is the one last heard of."""

    files_done: int
    files_total: int
    chunks: int
    source: str
    failures: int


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """batch: pictures in one forward pass. threads: that decode files and read words, by default one per processor up
    to eight. ahead: how many decoded chunks may wait for the model.
    """

    batch: int = 32
    threads: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    ahead: int = 32


class Ingest:
    """Brings sources into an index. One object, one run.

    captioner: says in words what the pictures show, where nothing has said it yet. text_embedder: embeds all words of
    a chunk, for an index that keeps their vectors, too.
    """

    def __init__(
        self,
        index: ChunkIndex,
        embedder: Embedder,
        chunks_of: Callable[[Source], Iterator[Chunk]],
        *,
        captioner: Captioner | None = None,
        text_embedder: TextEmbedder | None = None,
        progress: Callable[[Progress], None] | None = None,
        config: IngestConfig | None = None,
    ) -> None:
        self.index = index
        self.embedder = embedder
        self.chunks_of = chunks_of
        self.captioner = captioner
        self.text_embedder = text_embedder
        self.progress = progress
        self.config = config or IngestConfig()
        self.failures: list[Failure] = []
        self.done: list[Source] = []
        self._batch: list[Chunk] = []
        self._read: list[Source] = []
        self._begun: set[str] = set()
        self._failed: set[str] = set()
        self._chunks = 0

    def run(self, sources: Sequence[Source]) -> None:
        """Index all sources; those that fail are in `failures`, the others in `done`."""
        config = self.config
        with closing(read_ahead(sources, self.chunks_of, threads=config.threads, depth=config.ahead)) as reads:
            for read in reads:
                self._take(read)
                if sum(max(1, len(chunk.frames)) for chunk in self._batch) >= config.batch:
                    self._store()
                self._report(read.source, len(sources))
        self._store()
        if sources:
            self._report(sources[-1], len(sources))

    def _take(self, read: Read) -> None:
        if read.source.uri in self._failed:
            return  # its first chunks could not be stored: the rest is of no use
        if read.chunk is not None:
            self._batch.append(read.chunk)
        elif read.reason:
            self.fail(read.source.uri, read.reason)
        else:
            self._read.append(read.source)

    def fail(self, uri: str, reason: str) -> None:
        """Forget what was read of the source and record why."""
        self._failed.add(uri)
        self._batch = [chunk for chunk in self._batch if chunk.source.uri != uri]
        self.index.fail(uri, reason)
        self.failures.append(Failure(uri, reason))

    def _store(self) -> None:
        """Caption, embed and store what has gathered; then the sources that were read to their end are complete."""
        batch, self._batch = self._batch, []
        for source in dict.fromkeys(chunk.source for chunk in batch):
            if source.uri not in self._begun:
                self.index.begin(source)
                self._begun.add(source.uri)
        self._together_or_by_file(self._embed_and_add, self._captioned(batch), InputError)
        for source in self._read:
            if source.uri not in self._failed:
                self._complete(source)
        self._read = []

    def _captioned(self, batch: list[Chunk]) -> list[Chunk]:
        if self.captioner is None:
            return batch
        # Whatever a captioning model raises, a run that took hours goes on without those pictures.
        return self._together_or_by_file(partial(add_captions, self.captioner), batch, Exception)

    def _embed_and_add(self, batch: list[Chunk]) -> list[Chunk]:
        words = embed_words(self.text_embedder, batch) if self.text_embedder else None
        self.index.add(batch, embed_chunks(self.embedder, batch), words)
        self._chunks += len(batch)
        return batch

    def _together_or_by_file(
        self, step: Callable[[list[Chunk]], list[Chunk]], batch: list[Chunk], excused: type[Exception]
    ) -> list[Chunk]:
        """What the step makes of the batch, without the files that it fails on. Errors that are not excused pass."""
        try:
            return step(batch) if batch else []
        except excused as error:
            files = _by_file(batch)
            if len(files) > 1:
                return [each for chunks in files for each in self._together_or_by_file(step, chunks, excused)]
            self.fail(batch[0].source.uri, _reason(error, batch[0].source))
            return []

    def _complete(self, source: Source) -> None:
        if source.uri in self._begun:
            self.index.complete(source)
            self.done.append(source)
        else:
            self.fail(source.uri, "there is nothing in it to index: no picture and no text")

    def _report(self, source: Source, total: int) -> None:
        if self.progress is not None:
            finished = len(self.done) + len(self.failures)
            self.progress(Progress(finished, total, self._chunks, source.uri, len(self.failures)))


def embed_chunks(embedder: Embedder, chunks: Sequence[Chunk]) -> np.ndarray:
    """(N, D): of a chunk with pictures the mean direction of its pictures, of any other the direction of its text."""
    vectors = np.zeros((len(chunks), embedder.info.dimension), dtype=np.float32)
    passages = [i for i, chunk in enumerate(chunks) if not chunk.frames]
    if passages:
        vectors[passages] = embedder.embed_texts([chunks[i].text for i in passages])
    owners = [i for i, chunk in enumerate(chunks) for _ in chunk.frames]
    if owners:
        np.add.at(vectors, owners, embedder.embed_images([frame for chunk in chunks for frame in chunk.frames]))
    return unit_rows(vectors)


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
    captions = captioner.caption([chunks[i].frames[len(chunks[i].frames) // 2] for i in due]) if due else []
    said = dict(zip(due, captions, strict=True))
    return [replace(chunk, caption=said[i]) if i in said else chunk for i, chunk in enumerate(chunks)]


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


def _by_file(chunks: Iterable[Chunk]) -> list[list[Chunk]]:
    files: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        files.setdefault(chunk.source.uri, []).append(chunk)
    return list(files.values())


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, FlorenceError):
        return str(error)
    log.warning("unexpected error in %s", source.uri, exc_info=error)
    return f"could not be captioned: {type(error).__name__}: {' '.join(str(error).split())}"
