"""The relevance of images by a model that reads text and image together, where a threshold decides about hits.

A dual encoder hardly tells a red dog from a blue dog next to a red car. So relevance becomes the mean of its log-odds
and those of a matcher, a logarithmic opinion pool, which needs no fit and serves every embedder.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from florence_rag.context import LazyValue
from florence_rag.image_store import LoadFrames
from florence_rag.perception.base import Matcher, MatcherReranker, knows
from florence_rag.retrieval.query import Query, to_query
from florence_rag.retrieval.reranking import score_hits
from florence_rag.telemetry import get_logger
from florence_rag.types import Hit

log = get_logger(__name__)

_OWN_TERM_SHARE = 0.5
"""The share of the query's terms from which a hit is judged by its text, and not by its image."""
_MIN_ERROR = 0.01
"""The smallest probability that a matcher is wrong."""
_LEAST = 1e-6
_PRIOR = 0.0067
"""The probability that a hit is relevant of which the search has no evidence, the share of right pages among hits."""


def match_images(
    hits: Sequence[Hit],
    query: str | Query,
    matcher: LazyValue[Matcher] | None,
    load_frames: LoadFrames,
    *,
    choose: Callable[[list[Hit]], list[Hit]] = list,
    budget_ms: float | None = None,
    by_relevance: bool = False,
) -> list[Hit]:
    """Return the hits in their order, with the relevance of their images by the search and a matcher.

    Without a matcher that knows all words of the query, hits stay as they are, as do those whose image cannot be read.
    Of several frames, the best one counts.

    Args:
        hits: The hits.
        query: The query, of texts.
        matcher: The matcher.
        load_frames: Reads the frames of a hit.
        choose: Chooses the hits to judge from those that an image decides. The others of these are left out, because a
            matcher may have refused better ones.
        budget_ms: The time after which further hits are left out, with a warning.
        by_relevance: Whether the score of a hit is a relevance, too, and changes with it.
    """
    judged = [hit for hit in hits if is_judged_by_image(hit)]
    if matcher is None or not judged:
        return list(hits)
    query, model = to_query(query), matcher.get()
    if not all(knows(model, text) for text in (*query.texts, *query.unwanted_texts)):
        return list(hits)
    chosen = choose(judged)
    found = score_hits(MatcherReranker(model), chosen, query, budget_ms=budget_ms, load_frames=load_frames)
    if found.looked_at < len(chosen):
        log.warning("%d of %d images were judged in time; the others are left out", found.looked_at, len(chosen))
    matches = {chosen[place].id: match for place, match in found.scores.items()}
    left_out = {hit.id for hit in judged} - {hit.id for hit in chosen[: found.looked_at]}
    return [
        with_match(hit, matches[hit.id], by_relevance) if hit.id in matches else hit
        for hit in hits
        if hit.id not in left_out
    ]


def is_judged_by_image(hit: Hit) -> bool:
    """Return whether an image decides about a hit: it has one, and its text does not contain half of the terms."""
    return hit.kind != "text" and hit.relevance is not None and (hit.term_share or 0.0) < _OWN_TERM_SHARE


def with_match(hit: Hit, match: float, by_relevance: bool = False) -> Hit:
    """Return the hit with the mean of the log-odds of its relevance and of a matcher, by which it may be ranked."""
    explanation = "; ".join(filter(None, (hit.explanation, f"image match {match:.2f}")))
    relevance = _pool(hit.relevance or _PRIOR, match)
    score = relevance * (hit.score / hit.relevance if hit.relevance else 1.0) if by_relevance else hit.score
    return replace(hit, relevance=relevance, score=score, explanation=explanation)


def could_reach(hit: Hit, least: float) -> bool:
    """Return whether a hit has this relevance, or could have it if a matcher found that its image fits perfectly."""
    best = _pool(hit.relevance or _PRIOR, 1.0) if is_judged_by_image(hit) else 0.0
    return max(hit.relevance or 0.0, best) >= least


def clipped(probability: float, least: float) -> float:
    """Return a probability that is at least this far from 0 and 1."""
    return min(max(probability, least), 1.0 - least)


def _pool(relevance: float, match: float) -> float:
    log_odds = (math.log(p / (1 - p)) for p in (clipped(relevance, _LEAST), clipped(match, _MIN_ERROR)))
    return 1 / (1 + math.exp(-sum(log_odds) / 2))
