"""From a query to ranked hits: routes, fused by rank, reranked if asked for, clips grouped under their video.

    looks      the query's vector against pictures, pages and clips
    passages   the query's vector against text chunks
    words      BM25 over caption, text and what was read in the picture, weighed by the share of the words found
    meaning    the query's vector of a text model against that of caption, text and what was read, if the index has one
    exact      what the other routes found and contains the whole phrase

Pictures and passages are ranked apart because cosines of text to text lie higher than those of text to picture, so one
list would bury the pictures. A passage with all of several words earns a little more than the picture that looks most
like the query; with some of them, or with the only one, it earns less. What has a like meaning earns by its cosine,
because a text model, too, finds something nearest to any query.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from florence_rag.context import Context
from florence_rag.embedding.base import embed_queries, unit_rows
from florence_rag.errors import InputError
from florence_rag.index.base import Filter
from florence_rag.retrieval.fusion import RankedHit, RetrievalBranch, fuse
from florence_rag.retrieval.grouping import group_hits
from florence_rag.retrieval.query import Query, check_query
from florence_rag.retrieval.regions import rank_regions
from florence_rag.retrieval.reranking import Reranking
from florence_rag.tokenize import content_words, coverage, fold, phrase_pattern, shared_words
from florence_rag.types import Frame, Hit, Kind

SEEN: frozenset[Kind] = frozenset({"image", "page", "clip"})
"""The kinds whose vector was made from pixels."""

_MAX_DEPTH = 16_384  # what a Milvus server returns at most for one search


@dataclass(frozen=True, slots=True)
class RetrievalConfig:
    """How routes are weighed and how deep they look.

    rrf_k: the smaller, the more the first places count; 60 is usual for long lists of web pages, among the few
    dozen candidates of a small collection it would make the tenth place as good as the first.
    text_share: the part of the text in the vector of a query with text and image. depth: hits asked of each route, or
    oversample times k if that is more; deeper when grouping leaves fewer than k. max_moments: further hits kept with
    each group. rerank_depth: hits that a reranker looks at. rerank_share: what its word counts against the search's.
    """

    image_weight: float = 1.0
    text_weight: float = 0.25
    bm25_weight: float = 1.0
    text_dense_weight: float = 1.0
    phrase_weight: float = 1.0
    rrf_k: int = 10
    text_share: float = 0.5
    depth: int = 50
    oversample: int = 5
    max_moments: int = 10
    rerank_depth: int = 20
    rerank_share: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.text_share < 1:
            raise InputError(f"text_share must lie between 0 and 1, got {self.text_share!r}")
        if not 0 < self.rerank_share <= 1:
            raise InputError(f"rerank_share must be above 0 and at most 1, got {self.rerank_share!r}")
        if self.rerank_depth < 1:
            raise InputError(f"rerank_depth must be at least 1, got {self.rerank_depth!r}")


class Retriever:
    """Searches an index by text, image or both. Keeps no state between calls: as thread-safe as its parts.

    text_embedder: the one whose vectors the index has besides, if any. reranker: looks at the best hits of a search by
    text; load_frames: gives it their pictures.
    """

    def __init__(self, context: Context, config: RetrievalConfig | None = None) -> None:
        self._context = context
        self.config = config or RetrievalConfig()

    def search(
        self,
        text: str | None = None,
        image: Frame | None = None,
        k: int = 5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        group: bool = True,
    ) -> list[Hit]:
        """The k best hits, best first. group: the clips of one video, pictures that look the same and the shots of a
        burst are one hit, with the others as its moments."""
        query = check_query(text, image, k, kinds)
        hits = self._found(query, filter, group)
        reranker = self._context.models.reranker
        if reranker and query.text:
            rerank = Reranking(reranker, self._context.images.frames, self.config.rerank_depth)
            hits = rerank(hits, query.text, self._rerank_share(query))
        return (group_hits(hits, self.config.max_moments) if group else hits)[:k]

    def _found(self, query: Query, filter: Filter | None, group: bool) -> list[Hit]:
        """So many hits that k are left after grouping, if there are."""
        vector, meaning, k = self.vector(query), self._meaning(query), query.k
        depth = min(max(self.config.depth, k * self.config.oversample), _MAX_DEPTH)
        while True:
            routes = list(self._routes(query, vector, meaning, depth, filter))
            hits = fuse(routes, self.config.rrf_k)
            left = len(group_hits(hits, 0)) if group else len(hits)
            exhausted = all(len(route.found) < depth for route in routes)
            if left >= k or exhausted or depth == _MAX_DEPTH:
                return hits
            depth = min(4 * depth, _MAX_DEPTH)

    def _rerank_share(self, query: Query) -> float:
        """A reranker is told the text only, so it has no say on the picture's part of a query."""
        return self.config.rerank_share * (1.0 if query.image is None else self.config.text_share)

    def vector(self, query: Query) -> np.ndarray:
        """(D,): of the text, of the image, or their weighed sum, of unit length."""
        rows = []
        if query.text:
            rows.append(self.config.text_share * embed_queries(self._context.models.embedder, [query.text]))
        if query.image is not None:
            rows.append((1.0 - self.config.text_share) * self._context.models.embedder.embed_images([query.image]))
        vector: np.ndarray = unit_rows(np.sum(rows, axis=0))[0]
        return vector

    def _meaning(self, query: Query) -> np.ndarray | None:
        """(T,): of the text, in the space of the text model, if there is one."""
        text_embedder = self._context.models.text_embedder
        if text_embedder is None or not query.text:
            return None
        vector: np.ndarray = embed_queries(text_embedder, [query.text])[0]
        return vector

    def _routes(
        self, query: Query, vector: np.ndarray, meaning: np.ndarray | None, depth: int, filter: Filter | None
    ) -> Iterator[RetrievalBranch]:
        config = self.config
        pictures = self._nearest(vector, depth, query.kinds & SEEN, filter)
        passages = self._nearest(vector, depth, query.kinds - SEEN, filter)
        pictures = rank_regions(pictures) if query.text else pictures
        subject = "query" if query.text else "picture"
        yield RetrievalBranch(config.image_weight, [_near(hit, f"looks like the {subject}") for hit in pictures])
        yield RetrievalBranch(config.text_weight, [_near(hit, f"is about the {subject}") for hit in passages])
        if query.text:
            worded = self._context.index.search_bm25(query.text, depth, kinds=query.kinds, filter=filter)
            yield RetrievalBranch(config.bm25_weight, _by_words(worded, query.text))
            alike = self._alike(meaning, depth, query.kinds, filter)
            yield RetrievalBranch(config.text_dense_weight, [_means(hit) for hit in alike])
            yield RetrievalBranch(config.phrase_weight, _exact([*worded, *alike, *pictures, *passages], query.text))

    def _nearest(self, vector: np.ndarray, depth: int, kinds: frozenset[Kind], filter: Filter | None) -> list[Hit]:
        return self._context.index.search_vector(vector, depth, kinds=kinds, filter=filter) if kinds else []

    def _alike(
        self, meaning: np.ndarray | None, depth: int, kinds: frozenset[Kind], filter: Filter | None
    ) -> list[Hit]:
        return (
            []
            if meaning is None
            else self._context.index.search_text_vector(meaning, depth, kinds=kinds, filter=filter)
        )


def _near(hit: Hit, reason: str) -> RankedHit:
    # Something is nearest to any query; what points away from it was not found for its look.
    return RankedHit(hit, reason=f"{reason} ({hit.score:.2f})" if hit.score > 0 else "")


def _means(hit: Hit) -> RankedHit:
    return RankedHit(hit, float(np.clip(hit.score, 0.0, 1.0)), f"says something like the query ({hit.score:.2f})")


def _by_words(hits: list[Hit], text: str) -> list[RankedHit]:
    """Each hit with the share of the query's words that it has. Those with nothing but stop words are left out."""
    wanted = content_words(text)
    shared = [(hit, shared_words(wanted, hit.content)) for hit in hits]
    return [
        RankedHit(hit, coverage(found, wanted), f"has the words {', '.join(found)}") for hit, found in shared if found
    ]


def _exact(hits: list[Hit], phrase: str) -> list[RankedHit]:
    """Those that contain the whole phrase. A single word counts only where it was read in the picture:
    in a passage it is what BM25 has already rewarded."""
    pattern = phrase_pattern(phrase)
    if pattern is None:
        return []
    several = len(content_words(phrase)) > 1
    different = {hit.id: hit for hit in hits}.values()
    return [
        RankedHit(hit, 1.0, f'contains "{phrase}"')
        for hit in different
        if pattern.search(fold(hit.content if several else hit.ocr))
    ]
