"""Moves an index to another embedder while it serves: fill a shadow collection, compare the embedders, switch.

    old index: stored chunks + their images, read again -> new vectors -> shadow collection -> switch

A move is an index run whose chunks come from the index. A kill costs at most the files that were being embedded, and
chunks that have new vectors are not embedded again. OCR text, captions and text vectors are copied.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, cast

import numpy as np

from florence_rag.context import Context
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError, MediaError
from florence_rag.index.base import ReembeddableIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch, EmbedStage, embed_chunks
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.progress import Progress
from florence_rag.ingest.run import IngestRun
from florence_rag.ingest.words_pass import check_unchanged
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.retrieval.retriever import VISUAL_KINDS
from florence_rag.skip_counts import pending_words
from florence_rag.types import Chunk, Failure, Hit, Kind, Skipped, Source
from florence_rag.validation import validate_arguments

_FILES_PER_READ = 500  # reading the chunks of a few files takes Milvus Lite as long as scanning all of them
_SAMPLE = 32
_QUERY_WORDS = 12
# A search ranks both kinds of results apart, because cosines between texts exceed those between text and image.
_BRANCHES: tuple[frozenset[Kind], ...] = (VISUAL_KINDS, frozenset({"text"}))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the results of two embedders agree.

    Attributes:
        k: The number of images, and of passages, that count as results of a query.
        queries: The queries.
        overlaps: For each query the share of results that both embedders find, in [0, 1].
    """

    k: int
    queries: tuple[str, ...]
    overlaps: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean overlap, in [0, 1]."""
        return float(np.mean(self.overlaps))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        queries = [{"query": query, "overlap": each} for query, each in zip(self.queries, self.overlaps, strict=True)]
        return {"k": self.k, "mean_overlap": self.mean, "queries": queries}


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """How far a move to another embedder is.

    Attributes:
        model: The name of the new embedder.
        sources: The number of sources that have new vectors.
        total: The number of all sources.
        chunks: The number of chunks that have new vectors.
        failed: The sources that have no new vectors, with the reason.
        switched: Whether the index uses the new vectors.
    """

    model: str
    sources: int
    total: int
    chunks: int
    failed: tuple[Failure, ...] = ()
    switched: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)


class ReembedOptions(TypedDict, total=False):
    """Keyword arguments of `FlorenceRAG.reembed`.

    Attributes:
        model_options: How the embedder is downloaded and loaded.
        progress: Called after every step.
    """

    model_options: ModelOptions | None
    progress: Callable[[Progress], None] | None


@validate_arguments
class Reembedding:
    """A move of an index to another embedder. You can stop it at any point, and continue it with a new object.

    Attributes:
        embedder: The new embedder.
        shadow: The collection that receives the new vectors.

    Raises:
        InputError: If the index cannot hold the vectors of two embedders.
        ModelError: If the embedder cannot be loaded.
    """

    def __init__(
        self,
        context: Context,
        to: str | Embedder,
        config: IngestConfig | None = None,
        **options: Unpack[ReembedOptions],
    ) -> None:
        if not hasattr(context.index, "open_shadow"):
            name = type(context.index).__name__
            raise InputError(f"{name} cannot hold the vectors of two embedders; index the files again")
        self.embedder = load_model(EMBEDDER, to, options.get("model_options")) if isinstance(to, str) else to
        self._context = context
        self._index = cast("ReembeddableIndex", context.index)
        self.shadow = self._index.open_shadow(self.embedder.info)
        self._config = config
        self._progress = options.get("progress")
        self._unreadable: dict[str, Source] = {}
        self._failed_at_switch: tuple[Failure, ...] | None = None

    def fill(self) -> ReembedReport:
        """Embed all chunks without new vectors, and follow changes of the index, until both hold the same files.

        Files that cannot be read are skipped and reported. Files that are added, changed or removed during the run are
        updated, too.
        """
        self._unreadable = {}
        try:
            while self._copy_changes(self._index):
                pass
        finally:  # keep what an embedding service has charged for
            self.shadow.flush()
        return self.report()

    def report(self) -> ReembedReport:
        """Return how far the move is."""
        info, failed = self.shadow.info(), self._failed_at_switch
        if failed is None:
            reasons = {failure.source: failure.reason for failure in self.shadow.failures()}
            present = self.shadow.sources()
            missing = [uri for uri, source in self._index.sources().items() if present.get(uri) != source]
            failed = (
                *(Failure(uri, reasons.get(uri, "it is not yet embedded again")) for uri in missing),
                *(Failure(uri, "it has lost chunks: index it again") for uri in self._index.info().incomplete),
            )
        return ReembedReport(
            model=self.embedder.info.name,
            sources=info.sources,
            total=info.sources + len(failed),
            chunks=sum(info.chunks.values()),
            failed=failed,
            switched=self._failed_at_switch is not None,
        )

    def compare(self, old: Embedder | None = None, queries: Sequence[str] | None = None, *, k: int = 10) -> Comparison:
        """Return how far the results of both embedders agree, before the switch; see `compare_embedders`."""
        return compare_embedders(self._index, self.shadow, self.embedder, old, queries, k=k)

    def switch(self, *, unreadable: Literal["block", "fail"] = "block") -> ReembedReport:
        """Fill, then replace the old vectors by the new ones for all programs that open the index from now on.

        Add no files through this index object during the switch. Afterwards it needs the new embedder.

        Args:
            unreadable: What to do if files fail. "block" leaves the index as it is and raises InputError. "fail"
                records them as failed, with the reason, so that the next index run tries them again.
        """
        if unreadable not in ("block", "fail"):
            raise InputError(f"unreadable is {unreadable!r}; allowed are 'block' and 'fail'")
        failed = self.fill().failed
        if failed and unreadable == "block":
            raise InputError(
                f"not switched: {len(failed)} files cannot be embedded again, such as {failed[0].source!r} "
                f"({failed[0].reason}); restore them, or switch with unreadable='fail', which lists them as failed"
            )
        for failure in (*failed, *self._index.failures()):
            self.shadow.fail(failure.source, failure.reason)
        self.shadow.put_skipped_files(self._index.skipped_files())
        for each in self._index.rejected().values():
            if each.duplicate_of:
                self.shadow.mark_duplicate(each.source, each.duplicate_of)
            else:
                self.shadow.fail(each.source.uri, each.reason, each.source)
        copied = self.shadow.sources()
        previous = self._index.switch(self.shadow)
        self._failed_at_switch = failed
        self._context.models.embedder = self.embedder
        self._copy_changes(previous, copied)  # what other machines wrote to a server until this moment
        self.shadow.flush()
        self._index.drop_previous()
        return self.report()

    def rollback(self) -> None:
        """Drop the new vectors; the index stays as it is."""
        self._index.drop_shadow()

    def _copy_changes(self, index: ReembeddableIndex, copied: Mapping[str, Source] | None = None) -> bool:
        """Copy all changes to the shadow, or only those since `copied`, and return whether there were any."""
        wanted, present = index.sources(), self.shadow.sources()
        failed = {failure.source for failure in self.shadow.failures()}
        gone = (present.keys() | failed if copied is None else copied.keys()) - wanted.keys()
        if gone:
            self.shadow.delete_sources(gone)
        known = {**(copied or {}), **self._unreadable}
        missing = [source for uri, source in wanted.items() if source not in (present.get(uri), known.get(uri))]
        skipped, shadow_skipped = index.skipped_parts(), self.shadow.skipped_parts()
        # The words of these were read after they were copied.
        missing += [
            source
            for uri, source in wanted.items()
            if present.get(uri) == source
            and pending_words(shadow_skipped.get(uri, ())) - pending_words(skipped.get(uri, ()))
        ]
        done = len(wanted) - len(missing)
        run = IngestRun(self.shadow, len(wanted), files_done=done, progress=self._progress)
        for start in range(0, len(missing), _FILES_PER_READ):
            sources = missing[start : start + _FILES_PER_READ]
            run.ingest(sources, self._engine(index, sources, skipped))
        failed = {failure.source for failure in run.failures}
        self._unreadable |= {source.uri: source for source in missing if source.uri in failed}
        return bool(gone or missing)

    def _engine(
        self, index: ReembeddableIndex, sources: Collection[Source], skipped: Mapping[str, Sequence[Skipped]]
    ) -> ThreadEngine:
        """Return an engine that reads the stored chunks of the sources and embeds them."""
        stored = sorted(index.chunks_of([source.uri for source in sources]), key=_position)
        hits = {uri: list(group) for uri, group in groupby(stored, key=lambda hit: hit.uri)}

        def embed(chunks: list[Chunk]) -> EmbeddedBatch:
            text_vectors = index.text_vectors([chunk.id for chunk in chunks]) if index.text_embedder else None
            return EmbeddedBatch(chunks, embed_chunks(self.embedder, chunks), text_vectors)

        stage = EmbedStage(embed, workers=self.embedder.capabilities.workers)

        def read(source: Source) -> Iterator[Chunk | Skipped]:
            yield from skipped.get(source.uri, ())
            yield from self._chunks(source, hits.get(source.uri, ()))

        return ThreadEngine(stage, read, config=self._config)

    def _chunks(self, source: Source, hits: Collection[Hit]) -> Iterator[Chunk]:
        """Yield the stored chunks of a source, with their frames read again."""
        if any(hit.kind in VISUAL_KINDS for hit in hits):
            check_unchanged(source)
        for hit in hits:
            frames = self._context.images.frames(hit) if hit.kind in VISUAL_KINDS else ()
            if hit.kind in VISUAL_KINDS and not frames:
                raise MediaError(f"{source.uri!r} no longer has the image of {hit.locator}; index it again first")
            yield Chunk(source, hit.kind, hit.locator, hit.text, hit.caption, hit.ocr, frames, hit.metadata, hit.id)


def _position(hit: Hit) -> tuple[str, int, float, tuple[int, int], str]:
    """Return a key that sorts chunks by source and by place in it, so that a video is read in one direction."""
    where = hit.locator
    return hit.uri, where.page or 0, where.start_s or 0.0, where.span or (0, 0), hit.id


class _Query(NamedTuple):
    """A query with its vectors (D,) of both embedders, and the id of a chunk that is the query and thus no result."""

    name: str
    old: np.ndarray
    new: np.ndarray
    chunk_id: str = ""


def compare_embedders(
    index: ReembeddableIndex,
    shadow: ReembeddableIndex,
    new: Embedder,
    old: Embedder | None = None,
    queries: Sequence[str] | None = None,
    *,
    k: int = 10,
) -> Comparison:
    """Compare the chunks whose vectors in both indexes are nearest to queries, without BM25 and rerankers.

    By default, the queries are captions, passages and file names of a sample that is the same in every run. Without the
    old embedder, stored chunks are the queries, because they need none.
    """
    sample = _sample(index, shadow)
    if not sample:
        raise InputError(f"no file has vectors of {new.info.name} yet; fill first, then compare")
    if old is not None:
        if old.info != index.embedder:
            raise InputError(f"the index has the vectors of {index.embedder.name}, not of {old.info.name}")
        texts = list(queries) if queries else list(dict.fromkeys(map(_to_query, sample)))
        compared = list(map(_Query, texts, old.embed_texts(texts), new.embed_texts(texts)))
    elif queries is None:
        ids = [hit.id for hit in sample]
        names = [f"near {_to_query(hit)}" for hit in sample]
        compared = list(map(_Query, names, index.vectors(ids), shadow.vectors(ids), ids))
    else:
        raise InputError("queries can be compared only with the embedder of the index; give it, or no queries")
    overlaps = tuple(_overlap(query, index, shadow, k) for query in compared)
    return Comparison(k, tuple(query.name for query in compared), overlaps)


def _overlap(query: _Query, index: ReembeddableIndex, shadow: ReembeddableIndex, k: int) -> float:
    before = _nearest(index, query.old, k, query.chunk_id)
    after = _nearest(shadow, query.new, k, query.chunk_id)
    return len(before & after) / max(1, len(before), len(after))


def _nearest(index: ReembeddableIndex, vector: np.ndarray, k: int, excluded: str) -> set[str]:
    found = ([hit.id for hit in index.search_vector(vector, k + 1, kinds=kinds)] for kinds in _BRANCHES)
    return {id for ids in found for id in [each for each in ids if each != excluded][:k]}


def _sample(index: ReembeddableIndex, shadow: ReembeddableIndex) -> list[Hit]:
    """Return one chunk of each of some sources that both indexes have, the same in every run."""

    def digest(uri: str) -> bytes:
        return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    shared = sorted(index.sources().keys() & shadow.sources().keys(), key=digest)[:_SAMPLE]
    first: dict[str, Hit] = {}
    for hit in sorted(index.chunks_of(shared), key=lambda hit: hit.id):
        first.setdefault(hit.source, hit)
    return [first[uri] for uri in shared if uri in first]


def _to_query(hit: Hit) -> str:
    """Return a text that should find the hit: the beginning of its caption, text, OCR text or file name."""
    text = next((part for part in (hit.caption, hit.text, hit.ocr) if part.strip()), Path(hit.source).stem)
    return " ".join(text.replace("_", " ").replace("-", " ").split()[:_QUERY_WORDS]) or hit.kind
