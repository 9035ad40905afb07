"""Combines rankings: branches by reciprocal rank fusion, regions with their whole images by a weighted mean.

Reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009) compares ranks, because a cosine and a BM25 score share
no scale: a hit earns weight / (rrf_k + rank) from each branch. Scores are scaled so that the first place of a branch of
weight 1 earns 1.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from florence_rag.types import Hit

REGION_WEIGHT = 0.7
"""The weight of a region. The whole image has the rest, because a query may describe more than one region shows."""


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A hit of one branch, with its strength in [0, 1] and the evidence for it, as text for a person."""

    hit: Hit
    strength: float = 1.0
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalBranch:
    """One ranked list of hits, best first, with its weight."""

    weight: float
    hits: Sequence[RankedHit]


def fuse(branches: Iterable[RetrievalBranch], rrf_k: int) -> list[Hit]:
    """Return the hits of all branches, best first, each once, with the fused score and the evidence of the branches."""
    hits: dict[str, Hit] = {}
    earned: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for branch in branches:
        for rank, ranked in enumerate(branch.hits):
            hits.setdefault(ranked.hit.id, ranked.hit)
            score = branch.weight * ranked.strength * (rrf_k + 1) / (rrf_k + 1 + rank)
            earned[ranked.hit.id].append((score, ranked.evidence))
    fused = []
    for id, hit in hits.items():
        strongest_first = sorted(earned[id], key=lambda pair: -pair[0])
        explanation = "; ".join(evidence for _, evidence in strongest_first if evidence)
        fused.append(replace(hit, score=sum(score for score, _ in earned[id]), explanation=explanation))
    return sorted(fused, key=lambda hit: -round(hit.score, 9))


def rank_regions(hits: Sequence[Hit]) -> list[Hit]:
    """Sort the hits of a vector search by cosine, that of a region averaged with the cosine of its whole image.

    A whole image that is not among the hits has at most the cosine of the last one.
    """
    whole_images = {hit.uri: hit.score for hit in hits if hit.kind == "image" and hit.locator.box is None}

    def similarity(hit: Hit) -> float:
        if hit.kind != "image" or hit.locator.box is None:
            return hit.score
        return REGION_WEIGHT * hit.score + (1 - REGION_WEIGHT) * whole_images.get(hit.uri, hits[-1].score)

    return sorted(hits, key=similarity, reverse=True)
