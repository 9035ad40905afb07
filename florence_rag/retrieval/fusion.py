"""Combines rankings: branches by reciprocal rank fusion, regions with their whole images by a weighted mean.

Reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009) compares ranks, because a cosine and a BM25 score share
no scale: a hit earns weight / (rrf_k + rank) from each branch. Scores are scaled so that the first place of a branch of
weight 1 earns 1. Probabilities do share a scale, so a hit whose probability is known earns that, whatever its rank.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florence_rag.retrieval.relevance import combine
from florence_rag.types import Hit

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
    """One ranked list of hits, best first, with its weight and its name."""

    weight: float
    hits: Sequence[RankedHit]
    name: str = ""


def fuse(branches: Iterable[RetrievalBranch], rrf_k: int) -> list[Hit]:
    """Return the hits of all branches, best first, each once, with the fused score and the evidence of the branches."""
    hits: dict[str, Hit] = {}
    earned: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    found: defaultdict[str, dict[str, RankedHit]] = defaultdict(dict)
    for branch in branches:
        for rank, ranked in enumerate(branch.hits):
            hits.setdefault(ranked.hit.id, ranked.hit)
            by_rank = 1.0 if ranked.probability is not None else (rrf_k + 1) / (rrf_k + 1 + rank)
            score = branch.weight * ranked.strength * by_rank
            earned[ranked.hit.id].append((score, ranked.evidence))
            found[ranked.hit.id][branch.name] = ranked
    fused = []
    for id, hit in hits.items():
        strongest_first = sorted(earned[id], key=lambda pair: -pair[0])
        explanation = "; ".join(evidence for _, evidence in strongest_first if evidence)
        score = sum(score for score, _ in earned[id])
        fused.append(replace_fields(hit, score=score, explanation=explanation, **_numbers(found[id])))
    return sorted(fused, key=lambda hit: -round(hit.score, 9))


def _numbers(found: Mapping[str, RankedHit]) -> dict[str, Any]:
    """Return the fields of a hit that measure its relevance, from what each branch found."""
    return {
        "relevance": combine([each.probability for each in found.values() if each.probability is not None]),
        "similarity": {name: each.similarity for name, each in found.items() if each.similarity is not None},
        "term_share": next((each.term_share for each in found.values() if each.term_share is not None), None),
    }


def replace_fields(hit: Hit, **changes: Any) -> Hit:
    """Return a copy of a hit with other values of this package; `dataclasses.replace` would check all values again."""
    copied = object.__new__(Hit)
    for name in Hit.__slots__:
        object.__setattr__(copied, name, changes[name] if name in changes else getattr(hit, name))
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
