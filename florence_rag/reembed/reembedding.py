"""Moves an index to another embedder while it serves: fill beside it, compare, switch.

    old index: chunks as they are stored + their pictures, read again -> new vectors -> the index beside the old one

It is an index run whose chunks come from the index, so a kill costs at most the files that were under way, and what
already has its new vectors is not embedded again. Words are not read, captioned or embedded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from florence_rag.context import Context
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError, MediaError
from florence_rag.index.base import ReembeddableIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch, EmbedStage, embed_chunks
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.run import IngestRun, Progress
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.reembed.compare_embedders import Comparison, compare_embedders
from florence_rag.retrieval.retriever import VISUAL_KINDS
from florence_rag.sources import discover
from florence_rag.types import Chunk, Failure, Frame, Hit, Source

_FILES_PER_READ = 500  # a read of the stored chunks costs Lite as much as a look at all of them

LoadFrames = Callable[[Hit], tuple[Frame, ...]]


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """How far it is. sources: that have their new vectors, of total. left_out: those that have not, and why."""

    model: str
    sources: int
    total: int
    chunks: int
    left_out: tuple[Failure, ...] = ()
    switched: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Reembedding:
    """One index on its way to another embedder. It can be left at any point and gone on with by a new object.

    load_frames: the pictures of a hit, read again, as FlorenceRAG.frames does. progress: called after every step.
    switched: called with the new embedder once the index has its vectors.
    """

    def __init__(
        self,
        index: ReembeddableIndex,
        embedder: Embedder,
        load_frames: LoadFrames,
        *,
        progress: Callable[[Progress], None] | None = None,
        config: IngestConfig | None = None,
        switched: Callable[[Embedder], None] | None = None,
    ) -> None:
        self.index = index
        self.embedder = embedder
        self.successor = index.open_shadow(embedder.info)
        self._load_frames = load_frames
        self._progress = progress
        self._config = config
        self._switched = switched
        self._watch = StageTimer()
        self._given_up: dict[str, Source] = {}
        self._switched_without: tuple[Failure, ...] | None = None

    def fill(self) -> ReembedReport:
        """Embed what has no new vectors yet, and forget what is gone, until the two indexes hold the same files.

        Files that cannot be read are left out, which the report says. Files that are added, changed or removed
        meanwhile are caught up with.
        """
        self._given_up, self._watch = {}, StageTimer()
        try:
            while self._catch_up(self.index):
                pass
        finally:  # what a service was paid for is kept
            self.successor.flush()
        return self.report()

    def report(self) -> ReembedReport:
        """How far it is."""
        info, left_out = self.successor.info(), self.left_out()
        return ReembedReport(
            model=self.embedder.info.name,
            sources=info.sources,
            total=info.sources + len(left_out),
            chunks=sum(info.chunks.values()),
            left_out=left_out,
            switched=self._switched_without is not None,
        )

    def left_out(self) -> tuple[Failure, ...]:
        """The files of the index that have no new vectors, and why."""
        if self._switched_without is not None:
            return self._switched_without
        reasons = {failure.source: failure.reason for failure in self.successor.failures()}
        missing = _differing(self.index.sources(), self.successor.sources())
        lost = self.index.info().incomplete
        return (
            *(Failure(source.uri, reasons.get(source.uri, "it is not yet embedded anew")) for source in missing),
            *(Failure(uri, "it has lost chunks: index it again") for uri in lost),
        )

    def compare(self, old: Embedder | None = None, queries: Sequence[str] | None = None, *, k: int = 10) -> Comparison:
        """How far the results of both embedders agree, before the switch; see compare_embedders."""
        return compare_embedders(self.index, self.successor, self.embedder, old, queries, k=k)

    def switch(self, *, unreadable: Literal["block", "fail"] = "block") -> ReembedReport:
        """Catch up, then make the new vectors the index, for all who open it from now on, and drop the old ones.

        unreadable: what to do where files are left out: "block" leaves the index as it is and raises InputError; "fail"
        records them as failed, with the reason, so that the next index run tries them again.
        No file may be added through this very index meanwhile. Afterwards it needs the new embedder.
        """
        if unreadable not in ("block", "fail"):
            raise InputError(f"unreadable is {unreadable!r}; allowed are 'block' and 'fail'")
        left_out = self.fill().left_out
        if left_out and unreadable == "block":
            raise InputError(
                f"not switched: {len(left_out)} files cannot be embedded anew, such as {left_out[0].source!r} "
                f"({left_out[0].reason}); bring them back, or switch with unreadable='fail', which lists them as failed"
            )
        for failure in (*left_out, *self.index.failures()):
            self.successor.fail(failure.source, failure.reason)
        for each in self.index.skipped().values():
            if each.duplicate_of:
                self.successor.mark_duplicate(each.source, each.duplicate_of)
            else:
                self.successor.fail(each.source.uri, each.reason, each.source)
        seen = self.successor.sources()
        retired = self.index.switch(self.successor)
        self._switched_without = left_out
        if self._switched is not None:
            self._switched(self.embedder)
        self._catch_up(retired, seen)  # with what other machines wrote to a server until this moment
        self.successor.flush()
        self.index.drop_previous()
        return self.report()

    def abandon(self) -> None:
        """Drop the new vectors; the index stays as it is."""
        self.index.drop_shadow()

    def _catch_up(self, index: ReembeddableIndex, seen: Mapping[str, Source] | None = None) -> bool:
        """Bring over what differs from the index, or only what has changed since it was seen; whether there was any."""
        wanted, present = index.sources(), self.successor.sources()
        failed = {failure.source for failure in self.successor.failures()}
        gone = (present.keys() | failed if seen is None else seen.keys()) - wanted.keys()
        passed_over = {**(seen or {}), **self._given_up}
        missing = [source for uri, source in wanted.items() if source not in (present.get(uri), passed_over.get(uri))]
        if gone:
            self.successor.delete_sources(gone)
        done = len(wanted) - len(missing)
        run = IngestRun(self.successor, len(wanted), files_done=done, progress=self._progress, timer=self._watch)
        for start in range(0, len(missing), _FILES_PER_READ):
            self._bring_over(index, missing[start : start + _FILES_PER_READ], run)
        failed = {failure.source for failure in run.failures}
        self._given_up |= {source.uri: source for source in missing if source.uri in failed}
        return bool(gone or missing)

    def _bring_over(self, index: ReembeddableIndex, sources: Sequence[Source], run: IngestRun) -> None:
        """Embed the chunks of these sources again."""
        by_place = sorted(index.chunks_of([source.uri for source in sources]), key=_place)
        hits = {uri: list(group) for uri, group in groupby(by_place, key=lambda hit: hit.uri)}
        engine = ThreadEngine(
            EmbedStage(partial(_embed_images, self.embedder, index), workers=self.embedder.capabilities.workers),
            lambda source: _chunks(source, hits.get(source.uri, ()), self._load_frames),
            config=self._config,
        )
        run.ingest(sources, engine)


def reembed(
    index: ReembeddableIndex,
    embedder: Embedder,
    load_frames: LoadFrames,
    *,
    batch: int = 32,
    progress: Callable[[Progress], None] | None = None,
) -> Reembedding:
    """Fill an index anew beside itself, or go on with that; then `compare`, `switch` or `abandon` what comes back."""
    work = Reembedding(index, embedder, load_frames, progress=progress, config=IngestConfig(batch_size=batch))
    work.fill()
    return work


class ReembedOptions(TypedDict, total=False):
    """Keyword arguments of `FlorenceRAG.reembed`.

    Attributes:
        model_options: How the embedder is downloaded and loaded.
        progress: Called after every step.
    """

    model_options: ModelOptions | None
    progress: Callable[[Progress], None] | None


def begin_reembedding(
    context: Context, to: str | Embedder, config: IngestConfig | None, options: ReembedOptions
) -> Reembedding:
    """Begin or continue to move the index of a context to an embedder, which the context uses after the switch.

    Raises:
        InputError: If the index cannot hold the vectors of two embedders.
        ModelError: If the embedder cannot be loaded.
    """
    index = cast("ReembeddableIndex", context.index)
    if not hasattr(index, "open_shadow"):
        raise InputError(f"{type(index).__name__} cannot hold the vectors of two embedders; index the files again")
    embedder = load_model(EMBEDDER, to, options.get("model_options")) if isinstance(to, str) else to

    def use(new: Embedder) -> None:
        context.models.embedder = new

    progress = options.get("progress")
    return Reembedding(index, embedder, context.images.frames, progress=progress, config=config, switched=use)


def _embed_images(embedder: Embedder, old: ReembeddableIndex, chunks: list[Chunk]) -> EmbeddedBatch:
    """Embed chunks, and take the vectors of their texts over from the old index."""
    text_vectors = old.text_vectors([chunk.id for chunk in chunks]) if old.text_embedder else None
    return EmbeddedBatch(chunks, embed_chunks(embedder, chunks), text_vectors)


def _chunks(source: Source, hits: Collection[Hit], load_frames: LoadFrames) -> Iterator[Chunk]:
    if any(hit.kind in VISUAL_KINDS for hit in hits):
        _check_unchanged(source)
    for hit in hits:
        frames = load_frames(hit) if hit.kind in VISUAL_KINDS else ()
        if hit.kind in VISUAL_KINDS and not frames:
            raise MediaError(f"{source.uri!r} no longer has the picture of {hit.locator}; index it again first")
        yield Chunk(source, hit.kind, hit.locator, hit.text, hit.caption, hit.ocr, frames, hit.metadata, hit.id)


def _check_unchanged(source: Source) -> None:
    """Refuse a file that has changed, because its images would not match the stored text.

    Without a file, `load_frames` reports the reason, or reads the images from elsewhere.
    """
    if not Path(source.uri).is_file():
        return
    for found in discover([source.uri], {source.uri: source}):
        if isinstance(found, Failure):
            raise MediaError(found.reason)
        if found.content_hash != source.content_hash:
            raise MediaError("the file has changed since it was indexed; index it again first")


def _place(hit: Hit) -> tuple[str, int, float, tuple[int, int], str]:
    """Sorts chunks by source, and in it as they lie there, so that a video is read in one direction."""
    where = hit.locator
    return hit.uri, where.page or 0, where.start_s or 0.0, where.span or (0, 0), hit.id


def _differing(wanted: Mapping[str, Source], present: Mapping[str, Source]) -> list[Source]:
    return [source for uri, source in wanted.items() if present.get(uri) != source]
