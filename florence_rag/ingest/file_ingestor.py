"""Indexes files and keeps the index current with them.

paths -> diff with the index -> separate duplicates -> engine -> store -> report
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from typing import TypedDict, get_args

from florence_rag.chunking import ChunkingConfig, chunk_or_skip
from florence_rag.context import Context
from florence_rag.errors import InputError, check_keywords
from florence_rag.image_store import limit_image_detail
from florence_rag.index_report import IndexReport
from florence_rag.ingest.duplicates import (
    DuplicateResolver,
    NearDuplicateFilter,
    NearDuplicates,
    chunk_with_hashes,
    content_key,
    split_duplicates,
)
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import Engine, IngestConfig, ThreadEngine
from florence_rag.ingest.index_diff import IndexDiff, IndexSnapshot
from florence_rag.ingest.progress import Progress
from florence_rag.ingest.read_stage import Chunker, FileReader, OCRMode, OCRStage
from florence_rag.ingest.run import IngestRun
from florence_rag.ingest.words_pass import (
    FEW_FILES,
    WordsMode,
    WordsPass,
    chunk_unchanged,
    readable_words,
    words_may_follow,
    words_stage,
)
from florence_rag.skip_counts import CAPTIONS_PENDING, OCR_PENDING, SkipCounts, counts_to_line, pending_words
from florence_rag.sources import MEDIA_BY_SUFFIX, Places
from florence_rag.sources.io import Columns
from florence_rag.telemetry import get_logger, span
from florence_rag.types import Skipped, Source
from florence_rag.workers import start_workers

log = get_logger(__name__)


class RunOptions(TypedDict, total=False):
    """Keyword arguments of the methods of `FlorenceRAG` that index files.

    Attributes:
        near_duplicates: "link", the default, shows near-duplicate images as one hit; "drop" indexes only one of
            them; "keep" treats them as different images.
        follow_links: Whether to follow symbolic links that lead out of the folders; False by default.
        progress: Called after every step, in the calling thread.
        engine: Makes the engine that runs the stages, which must embed with the same models; by default threads.
        words: When to read OCR text and captions: "later", the default, when all files can be searched by visual
            similarity, the most useful first; "now" with each file, as always for up to eight files and by another
            engine; or "never" in this run, so that a later one reads them.
    """

    near_duplicates: NearDuplicates
    follow_links: bool
    progress: Callable[[Progress], None] | None
    engine: Callable[[Chunker], Engine] | None
    words: WordsMode


def _only_new(report: IndexReport, reported: set[Skipped]) -> IndexReport:
    """Return the report without the skips that were reported before, and remember the new ones."""
    new = SkipCounts()
    new.extend(each for each in report.skipped if each not in reported)
    reported.update(new.records)
    return replace(report, skipped=tuple(new.records), skipped_counts=new.by_reason)


def _log_report(report: IndexReport, run: IngestRun) -> None:
    counts = {"added": report.added, "updated": report.updated, "removed": report.removed, "failed": len(report.failed)}
    fields = {"event": "index.end", "seconds": run.timer.elapsed_s, "chunks": run.chunks, **counts}
    stages = {f"seconds_{stage}": spent for stage, spent in run.timer.seconds().items()}
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in (fields | stages).items()}
    log.info("indexed: %s", ", ".join(f"{key} {value}" for key, value in counts.items()), extra=rounded)


def _drops(options: RunOptions) -> bool:
    """Check the options, and return whether near-duplicates are not indexed."""
    check_keywords(options, RunOptions)
    choice, words = options.get("near_duplicates", "link"), options.get("words", "later")
    if choice not in get_args(NearDuplicates):
        raise InputError(f"near_duplicates is {choice!r}; allowed are 'keep', 'link' and 'drop'")
    if words not in get_args(WordsMode):
        raise InputError(f"words is {words!r}; allowed are 'later', 'now' and 'never'")
    return choice == "drop"


@dataclass(frozen=True, slots=True)
class FileIngestor:
    """Indexes files, one run at a time. Threads may share it."""

    context: Context
    ocr_mode: OCRMode = "auto"
    index_regions: bool = False
    chunking: ChunkingConfig | None = None
    config: IngestConfig | None = None
    default_progress: Callable[[], Callable[[Progress], None] | None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @span("index")
    def add(
        self,
        paths: Collection[str | PathLike[str]],
        options: RunOptions,
        *,
        listed: Iterable[str | PathLike[str]] = (),
        columns: Columns | None = None,
        prune: bool = False,
        retry: bool = False,
    ) -> IndexReport:
        """Index the files at and below paths; see `IndexSnapshot.diff`. Raises InputError if there is no file."""
        with self._lock:
            snapshot = IndexSnapshot(self.context.index)
            diff = self._differ(snapshot, options)(paths, listed=listed, columns=columns, prune=prune, retry=retry)
            if diff.is_empty:
                named = ", ".join(repr(str(path)) for path in paths) or "the list"
                skipped = counts_to_line(diff.skipped.by_reason)
                found = f" ({skipped})" if skipped else ""
                raise InputError(f"nothing to index in {named}{found}; supported are {' '.join(MEDIA_BY_SUFFIX)}")
            return self._apply(diff, snapshot, options, retry=retry)

    @span("index")
    def retry(self, options: RunOptions) -> IndexReport:
        """Try all failures again, and delete those of files that no longer exist."""
        with self._lock:
            snapshot = IndexSnapshot(self.context.index)
            failed = Places(sorted(snapshot.failed))
            diff = self._differ(snapshot, options)(failed, retry=True)
            return self._apply(diff, snapshot, options, retry=True)

    def watch(
        self, folders: Collection[str | PathLike[str]], options: RunOptions, stop: threading.Event | None = None
    ) -> Iterator[IndexReport]:
        """Yield a report of the first run over the folders, and of each run that a change requires."""
        from florence_rag.sources.watching import watch_folders

        with watch_folders(folders, stop) as changes:
            with self._lock:
                snapshot = IndexSnapshot(self.context.index)
            differ, reported = self._differ(snapshot, options), set[Skipped]()
            roots: list[str] = []
            for paths in changes:
                is_first, roots = not roots, roots or paths
                places = Places(named=roots) if paths == roots else Places(below=paths, roots=roots)
                with self._lock:
                    diff = differ(places)
                    report = self._apply(diff, snapshot, options)
                new = _only_new(report, reported)
                if is_first:
                    yield report
                elif diff.has_changes or new.skipped:
                    yield new

    def _differ(self, snapshot: IndexSnapshot, options: RunOptions) -> Callable[..., IndexDiff]:
        """Return `IndexSnapshot.diff` with the options of a run."""
        return partial(
            snapshot.diff,
            drop_near_duplicates=_drops(options),
            follow_links=options.get("follow_links", False),
            limits=self._config.limits(1),
            max_chunks=self._config.max_chunks_per_file,
        )

    @property
    def _config(self) -> IngestConfig:
        return self.config or IngestConfig()

    def _apply(
        self, diff: IndexDiff, snapshot: IndexSnapshot, options: RunOptions, *, retry: bool = False
    ) -> IndexReport:
        """Bring the index up to date, and the snapshot with it."""
        index = self.context.index
        progress = options.get("progress")
        progress = self.default_progress() if progress is None else progress
        run = IngestRun(index, len(diff.changed), progress=progress)
        if self._postpones_words(diff, options):
            run.words_follow = words_may_follow(self.context.models, self._ocr_stage)
        for failure in diff.unreadable:
            index.fail(failure.source, failure.reason)
        if diff.changed:
            start_workers(min(len(diff.changed), self._config.threads))
            log.info("indexing %d files", len(diff.changed), extra={"event": "index.begin", "files": len(diff.changed)})
            for sources, engine, near_duplicates in self._steps(diff, snapshot, run, options):
                run.ingest(sources, engine, near_duplicates)
        if diff.has_changes:
            index.update_stat(diff.touched)
            # Deletions come last, because a file that was moved takes over the rows of its old place.
            index.delete_sources(diff.gone)
        if diff.folder_counts:
            index.put_skipped_files(diff.folder_counts)
        if diff.has_changes or diff.folder_counts:
            index.flush()
        report = run.report(diff, snapshot.sources)
        _log_report(report, run)
        snapshot.update(diff, run.done, run.rejected, (failure.source for failure in run.failures), run.skipped)
        indexed = [snapshot.sources[source.uri] for source in (*diff.unchanged, *run.done)]
        words = WordsPass(index, snapshot.skipped_parts, self.context.models.text_embedder, progress)
        if options.get("words") != "never":
            self._read_words(words, indexed, snapshot, retry=retry)
        if words.outdated:
            report = self._index_again(report, words, snapshot, options, {source.uri for source in diff.unchanged})
        pending = len(words.pending(indexed))
        return replace(report, failed=(*report.failed, *words.failures.values()), words_pending=pending)

    @property
    def _ocr_stage(self) -> OCRStage | None:
        return OCRStage.from_models(self.context.models, self.ocr_mode)

    def _postpones_words(self, diff: IndexDiff, options: RunOptions) -> bool:
        """Return whether the words of changed files are not read with the files."""
        words = options.get("words", "later")
        if options.get("engine"):  # which reads words by options of its own
            return False
        return words == "never" or (words == "later" and len(diff.changed) > FEW_FILES)

    def _read_words(self, words: WordsPass, indexed: Iterable[Source], snapshot: IndexSnapshot, *, retry: bool) -> None:
        """Read the words that are pending and that a model reads."""
        groups = words.groups(indexed, readable_words(self.context.models, self._ocr_stage), retry=retry)
        if not groups:
            return
        files = sum(map(len, groups.values()))
        start_workers(min(files, self._config.threads))
        log.info("reading words of %d files", files, extra={"event": "words.begin", "files": files})
        words.run(groups, snapshot.sources.values(), self._words_engine)
        self.context.index.flush()

    def _words_engine(self, marks: Collection[str]) -> Engine:
        """Return the engine that reads the words with these marks."""
        models = self.context.models
        ocr = self._ocr_stage if OCR_PENDING in marks else None
        captioner = models.captioner if CAPTIONS_PENDING in marks else None
        reader, lone_reader = self._readers(partial(chunk_unchanged, config=self._chunking_for(ocr, captioner)))
        stage = words_stage(self.context.index, models, captioner)
        return ThreadEngine(stage, reader, ocr, self.config, lone_reader)

    def _index_again(
        self,
        report: IndexReport,
        words: WordsPass,
        snapshot: IndexSnapshot,
        options: RunOptions,
        unchanged: Collection[str],
    ) -> IndexReport:
        """Index in one pass what is cut into other chunks than are stored, and return the report with it.

        Words that no model of this run reads stay pending. What somebody has deleted or replaced meanwhile is left out.
        """
        index, stored = self.context.index, self.context.index.sources()
        for uri in words.outdated:
            del words.failures[uri]
        sources = [snapshot.sources[uri] for uri in sorted(words.outdated) if stored.get(uri) == snapshot.sources[uri]]
        readable = readable_words(self.context.models, self._ocr_stage)
        unread = {each.uri: pending_words(snapshot.skipped_parts[each.uri]) - readable for each in sources}
        diff, run = IndexDiff(changed=sources), IngestRun(index, len(sources), progress=words.progress)
        run.words_follow = lambda chunk: unread[chunk.source.uri]
        run.ingest(sources, self._engine(options))
        index.flush()
        snapshot.update(diff, run.done, run.rejected, (failure.source for failure in run.failures), run.skipped)
        again = run.report(diff, unchanged)
        return replace(
            report,
            updated=report.updated + again.updated,
            unchanged=report.unchanged - sum(uri in unchanged for uri in unread),
            failed=(*report.failed, *again.failed),
            changes=(*report.changes, *(each for each in again.changes if each.event == "updated")),
        )

    def _steps(
        self, diff: IndexDiff, snapshot: IndexSnapshot, run: IngestRun, options: RunOptions
    ) -> Iterator[tuple[list[Source], Engine, NearDuplicateFilter | None]]:
        """Yield what a run indexes: new content, then the duplicates, from the rows of their originals if possible."""
        # A source that is about to be replaced is not an original: its rows may be gone before they are read.
        index, engine = self.context.index, self._engine(options, words=run.words_follow is None)
        changed = {source.uri for source in diff.changed}
        near_duplicates = NearDuplicateFilter(index, {*diff.gone, *changed}) if _drops(options) else None
        indexed = [source for source in snapshot.sources.values() if source.uri not in changed]
        new, duplicates = split_duplicates(diff.changed, indexed)
        yield new, engine, near_duplicates
        if duplicates:
            exclude = {source.uri for source in duplicates}
            resolver = DuplicateResolver(index, self.context.models.text_embedder, exclude)
            failed = {content_key(each.source): each for each in run.rejected if not each.duplicate_of}
            copies: list[Source] = []
            others: list[Source] = []
            for source in duplicates:
                original = resolver.original(source)
                if original is None and content_key(source) in failed:
                    run.fail_like(source, failed[content_key(source)])
                elif original is None:
                    others.append(source)
                elif near_duplicates and source.media == "image" and original.uri in near_duplicates:
                    run.skip_near_duplicate(source, original.uri)
                else:  # also if the original is about to be deleted, whose place this source takes
                    copies.append(source)
            yield copies, ThreadEngine(EmbedStage(resolver.embed), resolver.chunks, config=self.config), None
            yield others, engine, near_duplicates

    def _engine(self, options: RunOptions, *, words: bool = True) -> Engine:
        """Load the models, and return the engine that uses them, without those that read words if these follow."""
        models, make_engine = self.context.models, options.get("engine")
        ocr, captioner = (self._ocr_stage, models.captioner) if words else (None, None)
        config = self._chunking_for(ocr, captioner, models.detector if self.index_regions else None)
        if make_engine:  # other engines have an OCR mode of their own
            config = replace(config, find_ocr_boxes=(self.chunking or ChunkingConfig()).find_ocr_boxes)
        keep = options.get("near_duplicates") == "keep"
        reader, lone_reader = self._readers(partial(chunk_or_skip if keep else chunk_with_hashes, config=config))
        if make_engine:
            return make_engine(lone_reader)  # other engines read nothing again
        stage = EmbedStage.from_models(
            models, index_regions=self.index_regions, file_limits=reader.limits, captions=words
        )
        return ThreadEngine(stage, reader, ocr, self.config, lone_reader)

    def _chunking_for(self, ocr: OCRStage | None, *readers: object) -> ChunkingConfig:
        """Return how to decode files as far as the embedder, OCR and the other readers need it."""
        config = limit_image_detail(self.chunking or ChunkingConfig(), self.context.models.embedder, ocr, *readers)
        return config if ocr and self.ocr_mode == "auto" else replace(config, find_ocr_boxes=False)

    def _readers(self, chunker: Chunker) -> tuple[FileReader, FileReader]:
        """Return the reader of files that are read side by side, and that of files that need more memory."""
        ingest, models = self._config, self.context.models
        readers = ingest.threads + (models.embedder.capabilities.workers if models.action_recognizer else 0)
        return (
            FileReader(chunker, ingest.limits(readers), ingest.max_chunks_per_file),
            FileReader(chunker, ingest.limits(1), ingest.max_chunks_per_file),
        )
