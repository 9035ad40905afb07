"""From a query to ranked hits: branches, fused by rank, reranked if there is a reranker, clips grouped by video.

    image        the query's vector against images, pages and clips
    text         the query's vector against text chunks
    bm25         BM25 over caption, text and OCR text, weighted by the share of the query's words that are found
    text_dense   the query's vector of a text embedder against that of caption, text and OCR text, if the index has one
    phrase       hits of the other branches that contain the whole query

Images and texts are ranked separately, because cosines between texts are higher than those of text to image, and one
list would bury the images. A passage with all of several words earns a little more than the most similar image; with
some of them, or with the only one, it earns less. The text_dense branch earns by cosine, because a text embedder finds
something nearest to any query. If the embedder is calibrated, the order is that of relevance instead (`relevance.py`).
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from florence_rag.context import Context
from florence_rag.errors import InputError
from florence_rag.index.base import Filter, with_vectors
from florence_rag.retrieval.background import BackgroundSample
from florence_rag.retrieval.branches import by_phrase, by_terms, by_text_vector, by_vector
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.evidence import QueryTerms
from florence_rag.retrieval.fusion import RetrievalBranch, fuse, rank_regions, replace_fields
from florence_rag.retrieval.grouping import count_groups, first_groups, group_hits, temporal_nms
from florence_rag.retrieval.heat_map import occlusion_map
from florence_rag.retrieval.image_match import could_reach, match_images
from florence_rag.retrieval.mmr import pick_diverse
from florence_rag.retrieval.query import Query, to_query
from florence_rag.retrieval.query_vector import QueryVector, embed_query, embed_text_parts, sources_of
from florence_rag.retrieval.relevance import (
    Calibration,
    calibration_of,
    calibrations_in,
    usual_min_relevance,
    weigh_cosines,
)
from florence_rag.retrieval.request import (
    MAX_COUNT,
    SearchRequest,
    check_count,
    check_kinds,
    check_relevance,
    check_request,
)
from florence_rag.retrieval.reranking import rerank
from florence_rag.telemetry import get_logger, span, timed
from florence_rag.types import KINDS, Hit, Kind, middle_frame
from florence_rag.validation import validate_arguments

log = get_logger(__name__)

VISUAL_KINDS: frozenset[Kind] = frozenset({"image", "page", "clip"})
"""The kinds whose vector is made from pixels."""

MOMENT_IMAGE_WEIGHT = 0.25
"""The weight of visual similarity in a search for moments, relative to that in other searches.

A caption says what happens, while the frames mostly show who and where.
"""
_MOMENT_OVERSAMPLE = 4
_MATCH_MS = 30_000.0
"""The time for the images of a search with a threshold, if the configuration has no limit."""


@validate_arguments
class Retriever:
    """Searches an index by texts, images and indexed chunks. Keeps no state between calls: as thread-safe as its parts.

    Args:
        context: The index, its models, and the images for the reranker.
        config: The weights of the branches.
    """

    def __init__(self, context: Context, config: RetrievalConfig | None = None) -> None:
        self._context = context
        self.config = config or RetrievalConfig()
        self._sample = BackgroundSample(context)

    def search(
        self,
        query: str | Query,
        k: int = 5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        group: bool = True,
        min_relevance: float | None = None,
    ) -> list[Hit]:
        """Return the k best hits, best first.

        Args:
            query: What to search for.
            k: The number of hits.
            kinds: The kinds of chunks; all by default.
            filter: A filter of the index.
            group: Whether the clips of a video, the regions of an image, near-duplicates and bursts are one hit each.
            min_relevance: The smallest relevance of a hit, in [0, 1]. With one, even 0, a matcher judges the images of
                the best hits, if the models have one and the query consists of texts: of k hits, or of
                `config.match_depth` if that is more. Further images are left out then.

        Raises:
            InputError: If the request is wrong.
        """
        request = check_request(to_query(query), k, kinds, filter)
        if min_relevance is not None:
            check_relevance(min_relevance)
        texts, parts = bool(request.query.text), len(request.query.parts)
        with timed(log, "search", k=k, text=texts, parts=parts) as fields:
            hits = self._search(request, group, min_relevance)
            fields["hits"] = len(hits)
        self._context.observe(hits)
        return hits

    @property
    def min_relevance(self) -> float:
        """The relevance below which answers and tools leave hits out."""
        return usual_min_relevance(self._context.models.embedder.info)

    @property
    def calibrations(self) -> Mapping[Kind, Calibration]:
        """The calibration of each kind of chunk that has one: that of the index, or else of the embedder."""
        index, info = self._context.index, self._context.models.embedder.info
        stored = self._sample.keep((info.fingerprint, "calibrations", 0.0), lambda: calibrations_in(index))
        return {**calibration_of(info), **stored}

    @property
    def is_calibrated(self) -> bool:
        """Return whether calibrations were fitted for all kinds that the index has; texts then rank by relevance."""
        return self._ranks_by_relevance(frozenset(KINDS))

    def _ranks_by_relevance(self, kinds: frozenset[Kind]) -> bool:
        """Return whether calibrations were fitted for all these kinds, because the default compares with none."""
        fitted = self.calibrations
        if not fitted or self._context.models.text_embedder is not None:
            return False
        return not any(len(self._sample.of(kind, 0).sample) for kind in kinds - fitted.keys())

    def _search(self, request: SearchRequest, group: bool, min_relevance: float | None) -> list[Hit]:
        query = request.query
        hits = self._find(request, group)
        if min_relevance is not None:
            hits = self._leave_out(hits, request, group, min_relevance)
        reranker = self._context.models.reranker
        if reranker and query.text:
            config, load_frames = self.config, self._context.images.frames
            with span("search.rerank", reranker=type(reranker).__name__):
                hits = rerank(
                    reranker,
                    hits,
                    query,
                    weight=config.rerank_weight,
                    depth=config.rerank_depth,
                    budget_ms=config.rerank_budget_ms,
                    load_frames=load_frames,
                )
        hits = (group_hits(hits, self.config.max_grouped) if group else hits)[: request.k]
        if query.text and not self._context.index.has_bm25:
            hits = [replace(hit, explanation=f"{hit.explanation}; words not searched".lstrip("; ")) for hit in hits]
        return hits

    def _leave_out(self, hits: list[Hit], request: SearchRequest, group: bool, least: float) -> list[Hit]:
        """Return the hits of at least this relevance, after a matcher has judged the images that could have it."""
        config, query = self.config, request.query
        by_relevance = query.is_text and self._ranks_by_relevance(request.kinds)
        if query.is_text and config.match_depth:
            depth = max(config.match_depth, request.k)
            with span("search.match"):
                hits = match_images(
                    [hit for hit in hits if could_reach(hit, least)],
                    query,
                    self._context.models.matcher,
                    self._context.images.frames,
                    choose=lambda images: first_groups(images, depth) if group else images[:depth],
                    budget_ms=config.rerank_budget_ms or _MATCH_MS,
                    by_relevance=by_relevance,
                )
        kept = [hit for hit in hits if (hit.relevance or 0.0) >= least]
        return sorted(kept, key=lambda hit: -round(hit.score, 9)) if by_relevance else kept

    def find_moments(
        self, text: str, k: int = 5, *, filter: Filter | None = None, overlapping: bool = False
    ) -> list[Hit]:
        """Return the k moments of videos that fit a text best, as `FlorenceRAG.find_moments` does."""
        config = replace(self.config, image_weight=MOMENT_IMAGE_WEIGHT * self.config.image_weight)
        count = min(check_count(k) * (1 if overlapping else _MOMENT_OVERSAMPLE), MAX_COUNT)
        retriever = copy(self)
        retriever.config = config
        hits = retriever.search(text, k=count, kinds={"clip"}, filter=filter, group=False)
        return hits if overlapping else temporal_nms(hits, k)

    def search_by_vector(
        self,
        vector: Sequence[float] | np.ndarray,
        k: int = 5,
        *,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
    ) -> list[Hit]:
        """Return the k chunks whose vectors are nearest to a vector.

        Args:
            vector: (D,), in the space of the embedder, of any length but 0.
            k: The number of hits, whose score is the cosine.
            kinds: As for `search`.
            filter: As for `search`.

        Raises:
            InputError: If the vector has another dimension or is not finite.
        """
        row = self._unit_vector(vector)
        hits = self._context.index.search_vector(row, check_count(k), kinds=check_kinds(kinds), filter=filter)
        self._context.observe(hits)
        return [
            replace_fields(hit, explanation=f"similarity {hit.score:.2f}", similarity={_branch_of(hit): hit.score})
            for hit in hits
        ]

    def search_mmr(
        self,
        vector: Sequence[float] | np.ndarray,
        k: int = 5,
        *,
        fetch_k: int = 20,
        relevance: float = 0.5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
    ) -> list[Hit]:
        """Return k diverse hits among the nearest to a vector, by maximal marginal relevance.

        Args:
            vector: As for `search_by_vector`.
            k: The number of hits, in the order of selection.
            fetch_k: The number of candidates.
            relevance: From 0, as diverse as possible, to 1, the nearest.
            kinds: As for `search`.
            filter: As for `search`.

        Raises:
            InputError: If the vector or the relevance is wrong.
        """
        found = self.search_by_vector(vector, max(k, fetch_k), kinds=kinds, filter=filter)
        hits, vectors = with_vectors(self._context.index, found)
        return [hits[i] for i in pick_diverse(vectors @ self._unit_vector(vector), vectors, k, relevance)]

    def embed_query(self, query: str | Query) -> np.ndarray:
        """Return the unit vector (D,) of a query, which `search` compares with the index."""
        return embed_query(self._context, to_query(query)).unit

    def heat_map(self, hit: Hit, query: str | Query) -> np.ndarray:
        """Return how much each part of the image of a hit adds to its cosine to a query.

        Args:
            hit: An image, a page or a clip, of which the middle frame counts.
            query: What was searched for.

        Returns:
            (8, 8) float32, 0 or more. Each of the 64 values costs the embedding of one image.

        Raises:
            InputError: If the hit is a passage of text, or its file is missing.
        """
        if hit.kind not in VISUAL_KINDS:
            raise InputError(f"a passage has no image for a heat map: {hit.source!r:.300}")
        vector, frames = self.embed_query(query), self._context.images.frames(hit)
        return occlusion_map(self._context.models.embedder, middle_frame(frames), vector)

    def _find(self, request: SearchRequest, group: bool) -> list[Hit]:
        """Return enough hits for k groups, if there are that many."""
        query, k = request.query, request.k
        known = sources_of(self._context, query)
        with span("search.embed"):
            vector, text_embedder = embed_query(self._context, query), self._context.models.text_embedder
            text_vector = embed_text_parts(text_embedder, query) if text_embedder else None
        candidates = min(max(self.config.candidates_per_branch, k * self.config.oversample), MAX_COUNT)
        while True:
            with span("search.branches", candidates=candidates):
                every = self._branches(request, vector, text_vector, candidates)
                branches = [branch for branch in every if branch.weight]
            with span("search.fuse"):
                by_relevance = query.is_text and self._ranks_by_relevance(request.kinds)
                fused = fuse(branches, self.config.rrf_k, by_relevance=by_relevance)
                hits = [hit for hit in fused if hit.uri not in known]
                hits = _lower_mentions(hits, query.unwanted_texts)
            enough = count_groups(hits, k) >= k if group else len(hits) >= k
            exhausted = all(len(branch.hits) < candidates for branch in branches)
            if enough or exhausted or candidates == MAX_COUNT:
                return hits
            candidates = min(4 * candidates, MAX_COUNT)

    def _branches(
        self, request: SearchRequest, vector: QueryVector, text_vector: np.ndarray | None, k: int
    ) -> Iterator[RetrievalBranch]:
        config, index, kinds, filter = self.config, self._context.index, request.kinds, request.filter
        query, visual, textual = request.query, kinds & VISUAL_KINDS, kinds - VISUAL_KINDS
        images = index.search_vector(vector.unit, k, kinds=visual, filter=filter) if visual else []
        passages = index.search_vector(vector.unit, k, kinds=textual, filter=filter) if textual else []
        images = rank_regions(images) if query.text else images
        embedder, found = self._context.models.embedder.info, [*images, *passages]
        relevance = weigh_cosines(vector, found, embedder, self._sample, self.calibrations)
        yield RetrievalBranch(config.image_weight, by_vector(images, "visual similarity", relevance), "image")
        yield RetrievalBranch(config.text_weight, by_vector(passages, "text similarity", relevance), "text")
        if query.text:
            matching = index.search_bm25(query.text, k, kinds=kinds, filter=filter)
            matches = by_terms(matching, query.text)
            yield RetrievalBranch(config.bm25_weight, matches, "bm25")
            similar = []
            if text_vector is not None:
                similar = index.search_text_vector(text_vector, k, kinds=kinds, filter=filter)
            yield RetrievalBranch(config.text_dense_weight, by_text_vector(similar, self._sample), "text_dense")
            candidates = [*(match.hit for match in matches), *matching, *similar, *images, *passages]
            for text in query.texts:
                yield RetrievalBranch(config.phrase_weight, by_phrase(candidates, text), "phrase")

    def _unit_vector(self, vector: Sequence[float] | np.ndarray) -> np.ndarray:
        row: np.ndarray = np.asarray(vector, dtype=np.float32).reshape(-1)
        dimension, length = self._context.models.embedder.info.dimension, math.sqrt(row @ row)
        if row.shape != (dimension,) or not 0 < length < math.inf:  # as it is for NaN, too
            raise InputError(
                f"vectors of queries must be finite, not zero and of the shape {(dimension,)}; got {row.shape}"
            )
        return row / length


def _branch_of(hit: Hit) -> str:
    return "image" if hit.kind in VISUAL_KINDS else "text"


def _lower_mentions(hits: list[Hit], unwanted: Mapping[str, float]) -> list[Hit]:
    """Return the hits in order, with less score if one sentence has all words of a text that a query gives a weight."""
    if not unwanted:
        return hits
    terms, lowered = {text: QueryTerms(text) for text in unwanted}, []
    for hit in hits:
        for text, weight in unwanted.items():
            match = terms[text].match(hit.content)
            if match and any(len(numbers) == len(terms[text]) for numbers in match.by_sentence):
                relevance = None if hit.relevance is None else (1 - weight) * hit.relevance
                reason = "; ".join(filter(None, (hit.explanation, f'mentions "{text}"')))
                hit = replace(hit, score=(1 - weight) * hit.score, relevance=relevance, explanation=reason)
        lowered.append(hit)
    return sorted(lowered, key=lambda hit: -round(hit.score, 9))
