"""Reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009) of several ranked lists into one.

A cosine and a BM25 score share no scale, but ranks do: a hit earns weight / (offset + rank) from each list it is in.
Scores are scaled so that the first place of a list of weight 1 earns 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from florence_rag.types import Hit


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A hit of one route. strength in [0, 1]: how much of the query the route found; reason: the same for a person."""

    hit: Hit
    strength: float = 1.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalBranch:
    """One way to find chunks, best first."""

    weight: float
    found: Sequence[RankedHit]


def fuse(routes: Iterable[RetrievalBranch], rrf_k: int) -> list[Hit]:
    """The hits of all routes, best first, each once, with the fused score and every route's reason."""
    hits: dict[str, Hit] = {}
    scores: defaultdict[str, float] = defaultdict(float)
    reasons: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for route in routes:
        for rank, found in enumerate(route.found):
            key = found.hit.id
            hits.setdefault(key, found.hit)
            earned = route.weight * found.strength * (rrf_k + 1) / (rrf_k + 1 + rank)
            scores[key] += earned
            reasons[key].append((earned, found.reason))
    fused = [replace(hit, score=scores[key], explanation=_why(reasons[key])) for key, hit in hits.items()]
    return sorted(fused, key=lambda hit: -round(hit.score, 9))


def _why(reasons: Iterable[tuple[float, str]]) -> str:
    """The reasons, that which earned most first."""
    return "; ".join(reason for _, reason in sorted(reasons, key=lambda pair: -pair[0]) if reason)
