"""The second pass of an index run: it reads the words of images that are found by visual similarity already.

    pending sources -> engine: read, OCR, caption -> the stored chunks with words -> rows, then ledger

Rows keep their id, vector and metadata, so a search finds each of them at any time. The ledger says that a source has
its words only when all its rows do, so after a kill the next run reads the others.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np

from florence_rag.chunking import ChunkingConfig, chunk_or_skip
from florence_rag.context import LazyValue, Models
from florence_rag.deferred_signals import DeferredSignals
from florence_rag.embedding.base import TextEmbedder
from florence_rag.errors import InputError, MediaError
from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.duplicates import DuplicateResolver, split_duplicates
from florence_rag.ingest.embed_stage import DescribeStep, EmbeddedBatch, EmbedStage, add_captions, embed_chunk_texts
from florence_rag.ingest.engine import Engine, ThreadEngine
from florence_rag.ingest.progress import Progress, StageTimer
from florence_rag.ingest.read_stage import OCRStage, PermanentFailure
from florence_rag.perception.base import Captioner
from florence_rag.skip_counts import CAPTIONS_PENDING, OCR_PENDING, WORDS_FAILED, awaits_words, pending_words
from florence_rag.sources import discover
from florence_rag.telemetry import get_logger
from florence_rag.types import Chunk, Failure, Hit, Media, Skipped, Source

log = get_logger(__name__)

WordsMode = Literal["later", "now", "never"]
"""When to read OCR text and captions: when all files can be searched ("later"), with each file ("now"), or not in this
run ("never"), so that a later one reads them."""
FEW_FILES = 8
"""For so few new files, a second pass gains nothing and reads them twice."""
WRITE_S = 5.0
"""Seconds between two writes."""
_NOT_STORED = "it is cut into other chunks than the stored ones"
_ORDER: Mapping[Media, int] = {"pdf": 0, "office": 0, "image": 1}


def by_usefulness(source: Source) -> tuple[int, int]:
    """Return a sort key: documents, whose scans only words can find, then images, then videos; the newest first."""
    return _ORDER.get(source.media, 2), -source.modified_ns


def words_may_follow(models: Models, ocr: OCRStage | None) -> Callable[[Chunk], Collection[str]] | None:
    """Return a function that returns the marks of the words that a chunk may get, or None if no model reads any."""
    readable = readable_words(models, ocr)
    if not readable:
        return None

    def may_follow(chunk: Chunk) -> Collection[str]:
        lacks_caption = not chunk.caption or chunk.kind == "clip"  # the caption of a clip may only name an action
        may_get = {
            OCR_PENDING: ocr is not None and ocr.may_read(chunk),
            CAPTIONS_PENDING: bool(chunk.frames) and lacks_caption,
        }
        return [mark for mark in readable if may_get[mark]]

    return may_follow


def readable_words(models: Models, ocr: OCRStage | None) -> frozenset[str]:
    """Return the marks of the words that these models read."""
    readers = {OCR_PENDING: ocr, CAPTIONS_PENDING: models.captioner}
    return frozenset(mark for mark, reader in readers.items() if reader is not None)


def words_stage(index: ChunkIndex, models: Models, captioner: LazyValue[Captioner] | None) -> EmbedStage:
    """Load the captioner, if there is one, and return the stage that adds captions to stored chunks."""
    steps: list[DescribeStep] = []
    if captioner is not None:
        steps.append(("caption", partial(add_captions, captioner.get())))
    return EmbedStage(partial(add_to_stored, index, models.text_embedder), steps, models.embedder.capabilities.workers)


def add_to_stored(index: ChunkIndex, text_embedder: TextEmbedder | None, chunks: list[Chunk]) -> EmbeddedBatch:
    """Return stored chunks with all their texts and without frames; their only vectors are of texts.

    Raises:
        InputError: If an image, page or clip is not stored, so that others may be stored that get no words.
    """
    stored = {hit.id: hit for hit in index.get([chunk.id for chunk in chunks])}
    if any(chunk.kind != "text" and chunk.id not in stored for chunk in chunks):
        raise InputError(_NOT_STORED)
    merged = [_merged(chunk, stored[chunk.id]) for chunk in chunks if chunk.id in stored]
    return EmbeddedBatch(merged, np.empty((len(merged), 0)), embed_chunk_texts(text_embedder, merged))


def _merged(chunk: Chunk, hit: Hit) -> Chunk:
    """Return a chunk with its stored text, and with the stored OCR text if there is no new one.

    The stored caption stays, because it may name the action of a clip.
    """
    captions = [hit.caption] if chunk.caption in hit.caption else [chunk.caption, hit.caption]
    caption = "\n".join(filter(None, captions))
    return replace(chunk, text=hit.text, caption=caption, ocr=chunk.ocr or hit.ocr, frames=())


def chunk_unchanged(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield what `chunk_or_skip` yields of a source, which must not have changed since it was indexed."""
    check_unchanged(source)
    yield from chunk_or_skip(source, config)


def check_unchanged(source: Source) -> None:
    """Refuse a file that has changed, because its images would not match what is stored.

    If there is no such file, reading its frames reports why, or reads them from another place.
    """
    if not Path(source.uri).is_file():
        return
    for found in discover([source.uri], {source.uri: source}):
        if isinstance(found, Failure):
            raise MediaError(found.reason)
        if isinstance(found, Source) and found.content_hash != source.content_hash:
            raise MediaError("the file has changed since it was indexed; index it again first")


@dataclass(slots=True, eq=False)
class WordsPass:
    """Reads the words of pending sources. One object carries out one pass.

    The pass updates `skipped_parts`, which holds what is not read of each source. Sources whose words could not be read
    are in `failures`; they stay pending, unless the failure lies in the file. Those in `outdated` are cut into other
    chunks now than those that are stored, so they must be indexed again.
    """

    index: ChunkIndex
    skipped_parts: dict[str, Sequence[Skipped]]
    text_embedder: TextEmbedder | None = None
    progress: Callable[[Progress], None] | None = None
    failures: dict[str, Failure] = field(default_factory=dict, init=False)
    outdated: set[str] = field(default_factory=set, init=False)
    _total: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    _chunks: int = field(default=0, init=False)
    _timer: StageTimer = field(default_factory=StageTimer, init=False)
    _batches: list[EmbeddedBatch] = field(default_factory=list, init=False)
    _ended: list[Source] = field(default_factory=list, init=False)
    _written_at: float = field(default_factory=monotonic, init=False)

    def run(
        self,
        groups: Mapping[frozenset[str], Sequence[Source]],
        indexed: Collection[Source],
        make_engine: Callable[[frozenset[str]], Engine],
    ) -> None:
        """Read the words of groups of sources, at least one, each with the engine for its marks.

        Copies of one file are read once, also of an indexed one.
        """
        self._total = sum(map(len, groups.values()))
        self._report_progress(next(iter(groups.values()))[0])
        for marks, sources in groups.items():
            self._read_group(marks, sources, indexed, make_engine(marks))

    def pending(self, sources: Iterable[Source], *, retry: bool = False) -> list[Source]:
        """Return the sources whose words are still to be read; with retry also those whose words failed."""
        lacks_words = pending_words if retry else awaits_words
        return [source for source in sources if lacks_words(self.skipped_parts.get(source.uri, ()))]

    def groups(
        self, sources: Iterable[Source], readable: frozenset[str], *, retry: bool = False
    ) -> dict[frozenset[str], list[Source]]:
        """Return the pending sources by those of their marks that can be read, without those of which none can."""
        groups: dict[frozenset[str], list[Source]] = {}
        for source in self.pending(sources, retry=retry):
            if marks := readable & self._pending_words(source.uri):
                groups.setdefault(marks, []).append(source)
        return groups

    def _pending_words(self, uri: str) -> frozenset[str]:
        return pending_words(self.skipped_parts.get(uri, ()))

    def _read_group(
        self, marks: frozenset[str], sources: Sequence[Source], indexed: Iterable[Source], engine: Engine
    ) -> None:
        with_words = [source for source in indexed if not marks & self._pending_words(source.uri)]
        new, copies = split_duplicates(sorted(sources, key=by_usefulness), with_words)
        self._read(marks, new, engine)
        if copies:
            without_words = {uri for uri in self.skipped_parts if marks & self._pending_words(uri)}
            resolver = DuplicateResolver(self.index, self.text_embedder, without_words)
            stage = EmbedStage(partial(add_to_stored, self.index, self.text_embedder))
            copy_engine = ThreadEngine(stage, resolver.chunks)
            self._read(marks, [each for each in copies if resolver.original(each)], copy_engine)
            self._read(marks, [each for each in copies if not resolver.original(each)], engine)

    def _read(self, marks: frozenset[str], sources: Sequence[Source], engine: Engine) -> None:
        if not sources:
            return
        with DeferredSignals() as signals:
            with closing(engine.run(sources, self._timer, self.failures, signals.check)) as results:
                for result in results:
                    for failure in (*result.failures, *self._cut_shorter(result.skipped)):
                        self._fail(failure)
                    self._batches += result.parts
                    self._chunks += sum(len(batch.chunks) for batch in result.parts)
                    self._ended += [source for source in result.ended if source.uri not in self.failures]
                    if monotonic() - self._written_at > WRITE_S:
                        self._write(marks)
                    self._report_progress(result.source)
            self._write(marks)

    def _cut_shorter(self, skipped: Iterable[Skipped]) -> Iterator[Failure]:
        """Yield a failure of each source of which fewer chunks are read than are stored."""
        for part in skipped:
            stored = {each.max_chunks for each in self.skipped_parts.get(part.source, ())}
            if part.max_chunks is not None and part.max_chunks not in stored:
                yield Failure(part.source, part.reason)

    def _write(self, marks: frozenset[str]) -> None:
        """Write the words that were read, and then to the ledger which sources have all of those with these marks."""
        with self._timer("store"):
            if chunks := [chunk for batch in self._batches for chunk in batch.chunks]:
                vectors = [batch.text_vectors for batch in self._batches if batch.text_vectors is not None]
                self.index.update_texts(chunks, np.concatenate(vectors) if vectors else None)
            self._settle(self._ended, marks)
        self._batches, self._ended, self._written_at = [], [], monotonic()

    def _settle(self, sources: Iterable[Source], read: frozenset[str] = frozenset(), added: Sequence[str] = ()) -> None:
        """Record which words of sources are read, and add marks."""
        settled = {
            source: [
                *(Skipped(source.uri, mark) for mark in added),
                *(part for part in self.skipped_parts[source.uri] if part.reason not in {*read, WORDS_FAILED}),
            ]
            for source in sources
        }
        if settled:
            self.index.update_skipped(settled)
        self.skipped_parts |= {source.uri: parts for source, parts in settled.items()}
        self._done += len(settled)

    def _fail(self, failure: Failure) -> None:
        reason = f"its words could not be read: {failure.reason}"
        log.info("%s: %s", failure.source, reason, extra={"event": "words.failed", "source": failure.source})
        self.failures[failure.source] = Failure(failure.source, reason)
        if failure.reason == _NOT_STORED:
            self.outdated.add(failure.source)
        if isinstance(failure, PermanentFailure):
            self._settle([failure.file], added=[WORDS_FAILED])

    def _report_progress(self, source: Source) -> None:
        if self.progress is not None:
            step = Progress(
                files_done=self._done + len(self._ended),
                files_total=self._total,
                chunks=self._chunks,
                source=source.uri,
                failures=len(self.failures),
                elapsed_s=self._timer.elapsed_s,
                busy=self._timer.utilization(),
                task="words",
            )
            self.progress(step)
