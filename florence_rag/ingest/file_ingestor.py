"""Brings files into an index and keeps it current with them: one run at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from florence_rag.chunking import ChunkingConfig, chunk
from florence_rag.context import Context, LazyValue
from florence_rag.errors import InputError
from florence_rag.image_store import as_detailed_as_needed
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import ChunksOf, Engine, IngestConfig, ThreadEngine
from florence_rag.ingest.index_diff import IndexDiff, IndexSnapshot
from florence_rag.ingest.ingest import Progress
from florence_rag.ingest.near_duplicates import (
    NearDuplicateFilter,
    NearDuplicates,
    check_near_duplicates,
    chunk_with_looks,
)
from florence_rag.ingest.ocr_stage import OCRStage
from florence_rag.ingest.run import IndexRun, report_of
from florence_rag.perception.base import Detector
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.sources.io import Columns
from florence_rag.types import IndexReport


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How one run goes: near_duplicates, progress and engine as `FlorenceRAG.add` takes them."""

    near_duplicates: NearDuplicates = "link"
    progress: Callable[[Progress], None] | None = None
    engine: Callable[[ChunksOf], Engine] | None = None

    def __post_init__(self) -> None:
        check_near_duplicates(self.near_duplicates)

    @property
    def drops(self) -> bool:
        """Whether near-duplicates are left out."""
        return self.near_duplicates == "drop"


class FileIngestor:
    """Of one index. detector: finds the regions that are indexed beside images. Threads may share it."""

    def __init__(
        self,
        context: Context,
        *,
        read_words: OCRStage | None = None,
        detector: LazyValue[Detector] | None = None,
        chunking: ChunkingConfig | None = None,
        config: IngestConfig | None = None,
    ) -> None:
        self._context = context
        self._read_words = read_words
        self._detector = detector
        self._chunking = chunking or ChunkingConfig()
        self._config = config
        self._lock = threading.Lock()

    def add(
        self,
        paths: Collection[str | Path],
        how: IngestOptions,
        *,
        listed: Iterable[str | Path] = (),
        columns: Columns | None = None,
        prune: bool = False,
        retry: bool = False,
    ) -> IndexReport:
        """What is below the paths; InputError if that is nothing."""
        with self._lock:
            books = IndexSnapshot(self._context.index)
            work = books.look(paths, listed=listed, columns=columns, prune=prune, retry=retry, drop=how.drops)
            if work.is_empty:
                named = ", ".join(repr(str(path)) for path in paths) or "the list"
                raise InputError(f"nothing to index in {named}; supported are {' '.join(MEDIA_BY_SUFFIX)}")
            return self._do(work, books, how)

    def retry(self, how: IngestOptions) -> IndexReport:
        """All that could not be indexed; what is gone is forgotten."""
        with self._lock:
            books = IndexSnapshot(self._context.index)
            return self._do(books.look(sorted(books.failed), gone=True, retry=True, drop=how.drops), books, how)

    def watch(
        self, folders: Collection[str | Path], how: IngestOptions, stop: threading.Event | None = None
    ) -> Iterator[IndexReport]:
        """A report of the first look at the folders, and of each change after it that asks for something."""
        from florence_rag.sources.watching import FolderWatch

        with FolderWatch(folders, stop) as changes:
            with self._lock:
                books = IndexSnapshot(self._context.index)
            for places in chain([changes.folders], changes):
                with self._lock:
                    work = books.look(places, gone=True, drop=how.drops)
                    report = self._do(work, books, how)
                if work.is_due or places is changes.folders:
                    yield report

    def _do(self, work: IndexDiff, books: IndexSnapshot, how: IngestOptions) -> IndexReport:
        if not work.is_due:
            return report_of(work)
        index = self._context.index
        embedding = self._embedding(load=bool(work.changed))
        for failure in work.unreadable:
            index.fail(failure.source, failure.reason)
        replaced = {*work.gone, *(source.uri for source in work.changed)}
        run = IndexRun(
            index,
            embedding,
            self._stages(embedding, how),
            len(work.changed),
            progress=how.progress,
            config=self._config,
            standing=NearDuplicateFilter(index, replaced) if how.drops and work.changed else None,
        )
        run.bring_in(work.changed, books.sources.values())
        index.update_stat(work.restated)
        # At last, as a file that was moved takes over what is known of its old place.
        index.delete_sources(work.gone)
        index.flush()
        report = report_of(work, run, books.sources)
        books.record(work, run.done, run.left_out, (failure.source for failure in run.failures))
        return report

    def _embedding(self, *, load: bool) -> EmbedStage:
        """Return the stage that embeds; load: with all models, so that one that cannot be loaded fails the run now."""
        models = self._context.models
        if not load:
            return EmbedStage(models.embedder)
        return EmbedStage(
            models.embedder,
            models.captioner.get() if models.captioner else None,
            models.text_embedder,
            self._detector.get() if self._detector else None,
            models.action_recognizer.get() if models.action_recognizer else None,
        )

    def _stages(self, embedding: EmbedStage, how: IngestOptions) -> Engine:
        cut = chunk if how.near_duplicates == "keep" else chunk_with_looks
        others = self._read_words, self._context.models.captioner, self._detector
        chunks_of = partial(cut, config=as_detailed_as_needed(self._chunking, self._context.models.embedder, *others))
        if how.engine:
            return how.engine(chunks_of)
        return ThreadEngine(embedding, chunks_of, add_words=self._read_words, config=self._config)
