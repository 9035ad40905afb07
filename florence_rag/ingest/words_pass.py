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
from florence_rag.context import Models
from florence_rag.deferred_signals import DeferredSignals
from florence_rag.embedding.base import TextEmbedder
from florence_rag.errors import MediaError
from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.duplicates import DuplicateResolver, split_duplicates
from florence_rag.ingest.embed_stage import DescribeStep, EmbeddedBatch, EmbedStage, add_captions, embed_chunk_texts
from florence_rag.ingest.engine import Engine, ThreadEngine
from florence_rag.ingest.progress import Progress, StageTimer
from florence_rag.ingest.read_stage import OCRStage, PermanentFailure
from florence_rag.skip_counts import WORDS_FAILED, WORDS_PENDING
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
_MARKS = frozenset({WORDS_PENDING, WORDS_FAILED})
_ORDER: Mapping[Media, int] = {"pdf": 0, "office": 0, "image": 1}


def by_usefulness(source: Source) -> tuple[int, int]:
    """Return a sort key: documents, whose scans only words can find, then images, then videos; the newest first."""
    return _ORDER.get(source.media, 2), -source.modified_ns


def words_may_follow(models: Models, ocr: OCRStage | None) -> Callable[[Chunk], bool] | None:
    """Return a function that tells whether a chunk may get words, or None if no model reads any."""
    if ocr is None and models.captioner is None:
        return None

    def may_follow(chunk: Chunk) -> bool:
        lacks_caption = not chunk.caption or chunk.kind == "clip"  # the caption of a clip may only name an action
        has_caption_to_come = models.captioner is not None and bool(chunk.frames) and lacks_caption
        return has_caption_to_come or (ocr is not None and ocr.may_read(chunk))

    return may_follow


def words_stage(index: ChunkIndex, models: Models) -> EmbedStage:
    """Load the captioner, if there is one, and return the stage that adds captions to stored chunks."""
    steps: list[DescribeStep] = []
    if models.captioner is not None:
        steps.append(("caption", partial(add_captions, models.captioner.get())))
    return EmbedStage(partial(add_to_stored, index, models.text_embedder), steps, models.embedder.capabilities.workers)


def add_to_stored(index: ChunkIndex, text_embedder: TextEmbedder | None, chunks: list[Chunk]) -> EmbeddedBatch:
    """Return the chunks that are stored, with all their texts and without frames; their only vectors are of texts."""
    stored = {hit.id: hit for hit in index.get([chunk.id for chunk in chunks])}
    merged = [_merged(chunk, stored[chunk.id]) for chunk in chunks if chunk.id in stored]
    return EmbeddedBatch(merged, np.empty((len(merged), 0)), embed_chunk_texts(text_embedder, merged))


def _merged(chunk: Chunk, hit: Hit) -> Chunk:
    """Return a chunk with its stored text. The stored caption stays, because it may name the action of a clip."""
    captions = [hit.caption] if chunk.caption in hit.caption else [chunk.caption, hit.caption]
    return replace(chunk, text=hit.text, caption="\n".join(filter(None, captions)), frames=())


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
    are in `failures`; they stay pending, unless the failure lies in the file.
    """

    index: ChunkIndex
    skipped_parts: dict[str, Sequence[Skipped]]
    text_embedder: TextEmbedder | None = None
    progress: Callable[[Progress], None] | None = None
    failures: dict[str, Failure] = field(default_factory=dict, init=False)
    _total: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    _chunks: int = field(default=0, init=False)
    _timer: StageTimer = field(default_factory=StageTimer, init=False)
    _batches: list[EmbeddedBatch] = field(default_factory=list, init=False)
    _ended: list[Source] = field(default_factory=list, init=False)
    _written_at: float = field(default_factory=monotonic, init=False)

    def run(self, pending: Sequence[Source], indexed: Iterable[Source], engine: Engine) -> None:
        """Read the words of pending sources, at least one. Copies of one file are read once, also of an indexed one."""
        self._total = len(pending)
        self._report_progress(pending[0])
        with_words = [source for source in indexed if not self._lacks_words(source.uri)]
        new, copies = split_duplicates(sorted(pending, key=by_usefulness), with_words)
        self._read(new, engine)
        if copies:
            without_words = set(filter(self._lacks_words, self.skipped_parts))
            resolver = DuplicateResolver(self.index, self.text_embedder, without_words)
            stage = EmbedStage(partial(add_to_stored, self.index, self.text_embedder))
            self._read([each for each in copies if resolver.original(each)], ThreadEngine(stage, resolver.chunks))
            self._read([each for each in copies if not resolver.original(each)], engine)

    def pending(self, sources: Iterable[Source], *, retry: bool = False) -> list[Source]:
        """Return the sources whose words are still to be read; with retry also those whose words failed."""
        reasons = _MARKS if retry else {WORDS_PENDING}
        return [source for source in sources if self._lacks_words(source.uri, reasons)]

    def _lacks_words(self, uri: str, reasons: Collection[str] = _MARKS) -> bool:
        return any(part.reason in reasons for part in self.skipped_parts.get(uri, ()))

    def _read(self, sources: Sequence[Source], engine: Engine) -> None:
        if not sources:
            return
        with DeferredSignals() as signals:
            with closing(engine.run(sources, self._timer, self.failures, signals.check)) as results:
                for result in results:
                    for failure in result.failures:
                        self._fail(failure)
                    self._batches += result.parts
                    self._chunks += sum(len(batch.chunks) for batch in result.parts)
                    self._ended += [source for source in result.ended if source.uri not in self.failures]
                    if monotonic() - self._written_at > WRITE_S:
                        self._write()
                    self._report_progress(result.source)
            self._write()

    def _write(self) -> None:
        """Write the words that were read, and then to the ledger which sources have all of theirs."""
        with self._timer("store"):
            if chunks := [chunk for batch in self._batches for chunk in batch.chunks]:
                vectors = [batch.text_vectors for batch in self._batches if batch.text_vectors is not None]
                self.index.update_texts(chunks, np.concatenate(vectors) if vectors else None)
            self._settle({source: () for source in self._ended})
        self._batches, self._ended, self._written_at = [], [], monotonic()

    def _settle(self, marks: Mapping[Source, Sequence[Skipped]]) -> None:
        """Record that no words of sources are pending, and the marks instead."""
        settled = {
            source: [*(part for part in self.skipped_parts[source.uri] if part.reason not in _MARKS), *added]
            for source, added in marks.items()
        }
        if settled:
            self.index.update_skipped(settled)
        self.skipped_parts |= {source.uri: parts for source, parts in settled.items()}
        self._done += len(settled)

    def _fail(self, failure: Failure) -> None:
        reason = f"its words could not be read: {failure.reason}"
        log.info("%s: %s", failure.source, reason, extra={"event": "words.failed", "source": failure.source})
        self.failures[failure.source] = Failure(failure.source, reason)
        if isinstance(failure, PermanentFailure):
            self._settle({failure.file: [Skipped(failure.source, WORDS_FAILED)]})

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
