"""Combines rankings: branches by reciprocal rank fusion, regions with their whole images by a weighted mean.

Reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009) compares ranks, because a cosine and a BM25 score share
no scale: a hit earns weight / (rrf_k + rank) from each branch. Scores are scaled so that the first place of a branch of
weight 1 earns 1. Calibrated probabilities do share a scale: then a hit earns the probability that one branch is right.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.relevance import combine
from florence_rag.types import Hit

_DEFAULTS = RetrievalConfig()
_SETTERS = {name: getattr(Hit, name).__set__ for name in Hit.__slots__}
_values = attrgetter(*_SETTERS)
REGION_WEIGHT = 0.7
"""The weight of a region. The whole image has the rest, because a query may describe more than one region shows."""


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A hit of one branch.

    Attributes:
        hit: The hit.
        strength: How strongly the branch supports it, in [0, 1].
        evidence: The reason, as text for a person.
        probability: The probability that the hit is relevant; None if that is not known.
        similarity: The cosine, if the branch compares vectors.
        term_share: The share of the query's terms, if the branch compares terms.
    """

    hit: Hit
    strength: float = 1.0
    evidence: str = ""
    probability: float | None = None
    similarity: float | None = None
    term_share: float | None = None


@dataclass(frozen=True, slots=True)
class RetrievalBranch:
    """One ranked list of hits, best first, with its weight and its name, that of a weight of `RetrievalConfig`."""

    weight: float
    hits: Sequence[RankedHit]
    name: str = ""

    @property
    def emphasis(self) -> float:
        """The weight relative to the default, because a probability needs no weight."""
        default: float = getattr(_DEFAULTS, f"{self.name}_weight", 1.0)
        return self.weight / default


def fuse(branches: Iterable[RetrievalBranch], rrf_k: int, *, by_relevance: bool = False) -> list[Hit]:
    """Return the hits of all branches, best first, each once, with the fused score and the evidence of the branches.

    Args:
        branches: The rankings.
        rrf_k: The constant of reciprocal rank fusion.
        by_relevance: Whether to rank by the probabilities of the branches instead, times their weights.
    """
    hits: dict[str, Hit] = {}
    found: defaultdict[str, list[tuple[float, RankedHit, str]]] = defaultdict(list)
    for branch in branches:
        for rank, ranked in enumerate(branch.hits):
            if by_relevance:
                score = min(branch.emphasis * (ranked.probability or 0.0), 1.0)
            else:
                score = branch.weight * ranked.strength * (rrf_k + 1) / (rrf_k + 1 + rank)
            hits.setdefault(ranked.hit.id, ranked.hit)
            found[ranked.hit.id].append((score, ranked, branch.name))
    total = combine if by_relevance else sum
    fused = [
        replace_fields(hit, score=total([each[0] for each in found[id]]), **_numbers(found[id]))
        for id, hit in hits.items()
    ]
    return sorted(fused, key=lambda hit: -round(hit.score, 9))


def _numbers(found: Sequence[tuple[float, RankedHit, str]]) -> dict[str, Any]:
    """Return the fields of a hit that say why it was found, from the score and the hit of each branch."""
    strongest_first = sorted(found, key=lambda each: -each[0])
    ranked = [each for _, each, _ in found]
    probabilities = [each.probability for each in ranked if each.probability is not None]
    return {
        "explanation": "; ".join(each.evidence for _, each, _ in strongest_first if each.evidence),
        "relevance": combine(probabilities) if probabilities else None,
        "similarity": {name: each.similarity for _, each, name in found if each.similarity is not None},
        "term_share": next((each.term_share for each in ranked if each.term_share is not None), None),
    }


def replace_fields(hit: Hit, **changes: Any) -> Hit:
    """Return a copy of a hit with other values of this package; `dataclasses.replace` would check all values again."""
    copied = object.__new__(Hit)
    for set_value, value in zip(_SETTERS.values(), _values(hit), strict=True):
        set_value(copied, value)
    for name, value in changes.items():
        _SETTERS[name](copied, value)
    return copied


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
