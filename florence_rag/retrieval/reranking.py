"""Reranks the best hits by a model that scores each together with the query.

The new score is a weighted mean of the reranker's score in [0, 1] and the search's score, divided by the best one. So
if no hit seems to match, or the reranker cannot read printed text, the search decides. Only hits that could be scored
change places, among themselves, and each place keeps its score.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from florence_rag.batching import batched
from florence_rag.errors import MediaError
from florence_rag.image_store import LoadFrames
from florence_rag.perception.base import Reranker
from florence_rag.retrieval.query import Query, to_query
from florence_rag.telemetry import get_logger
from florence_rag.types import Frame, Hit

log = get_logger(__name__)

_STEP = 4  # hits between two looks at the clock
_LARGE_STEP = 16  # hits whose images are in memory together


class HitScores(NamedTuple):
    """The scores of those hits that could be scored, and their inputs, by place; `looked_at` hits came in time."""

    scores: dict[int, float]
    inputs: dict[int, Sequence[Frame | str]]
    looked_at: int


def rerank(
    reranker: Reranker,
    hits: Sequence[Hit],
    query: str | Query,
    *,
    weight: float,
    depth: int,
    budget_ms: float | None = None,
    load_frames: LoadFrames | None = None,
) -> list[Hit]:
    """Return the hits in a new order, the first `depth` of them scored with a weight of `weight`, in (0, 1].

    The score is that of the query's text, times 1 minus that of each text of negative weight. Explanations contain it.
    It has less weight in a query with images, which the reranker does not receive. Without `load_frames`, only texts
    are scored. With `budget_ms`, no further hits are scored when the next ones would exceed it; the first ones always
    are.
    """
    query = to_query(query)
    weight *= query.text_share
    scored, inputs, _ = score_hits(reranker, hits[:depth], query, budget_ms=budget_ms, load_frames=load_frames)
    if hits and not inputs:
        reads = " and ".join(sorted(reranker.reads))
        log.warning("the reranker changes nothing: it reads %s, and the hits have none, not even a caption", reads)
        return list(hits)
    best = max((hit.score for hit in hits), default=0.0) or 1.0
    ranked = sorted(scored, key=lambda place: -weight * scored[place] - (1 - weight) * hits[place].score / best)
    ordered = list(hits)
    for place, origin in zip(scored, ranked, strict=True):
        of_text = " of its text" if isinstance(inputs[origin][0], str) else ""
        parts = (f"reranker score{of_text} {scored[origin]:.2f}", hits[origin].explanation)
        ordered[place] = replace(hits[origin], score=hits[place].score, explanation="; ".join(filter(None, parts)))
    return ordered


def score_hits(
    reranker: Reranker,
    hits: Sequence[Hit],
    query: Query,
    *,
    budget_ms: float | None = None,
    load_frames: LoadFrames | None = None,
) -> HitScores:
    """Score hits in steps, so that the images of few are in memory."""
    inputs: dict[int, Sequence[Frame | str]] = {}
    scored: dict[int, float] = {}
    looked_at, started = 0, time.monotonic()
    before = started
    for places in batched(range(len(hits)), _LARGE_STEP if budget_ms is None else _STEP):
        now = time.monotonic()
        if budget_ms is not None and scored and 1000 * (now - started + now - before) > budget_ms:
            break
        some = {place: each for place in places if (each := _inputs(reranker, hits[place], load_frames))}
        scored.update(_scores(reranker, query, some))
        inputs.update(some)
        looked_at += len(places)
        before = now
    return HitScores(scored, inputs, looked_at)


def _scores(reranker: Reranker, query: Query, inputs: Mapping[int, Sequence[Frame | str]]) -> dict[int, float]:
    """Return the score of each hit from its inputs; of several frames, the best one counts."""
    candidates = [each for some in inputs.values() for each in some]
    if not candidates:
        return {}
    fit = reranker.score(query.text, candidates)
    for text, unwanted in query.unwanted_texts.items():
        fit = fit * (1 - unwanted * reranker.score(text, candidates))
    scores = iter(fit.tolist())
    return {place: max(next(scores) for _ in some) for place, some in inputs.items()}


def _inputs(reranker: Reranker, hit: Hit, load_frames: LoadFrames | None) -> Sequence[Frame | str]:
    """Return the frames of a hit, or its text if the reranker scores text; nothing if it can score neither."""
    if load_frames and "image" in reranker.reads and hit.kind != "text":
        try:
            if frames := load_frames(hit):
                return frames
        except MediaError as error:
            log.warning("%s is ranked without its image: %s", hit.source, error)
    return [hit.content] if "text" in reranker.reads and hit.content.strip() else []
