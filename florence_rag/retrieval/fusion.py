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
    """A hit of one branch, with its strength in [0, 1] and a reason for a person."""

    hit: Hit
    strength: float = 1.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalBranch:
    """One ranked list of hits, best first, with its weight."""

    weight: float
    found: Sequence[RankedHit]


def fuse(routes: Iterable[RetrievalBranch], rrf_k: int) -> list[Hit]:
    """Return the hits of all branches, best first, each once, with the fused score and the reasons of the branches."""
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
    """Return the reasons in descending order of their contribution."""
    return "; ".join(reason for _, reason in sorted(reasons, key=lambda pair: -pair[0]) if reason)
