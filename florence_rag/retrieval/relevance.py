"""The probability that a hit is what a query asks for, from the evidence of each branch.

    cosine      compared with the cosines of a sample of the collection to the same query
    terms       the share of the query's terms, weighted by their rarity, that one sentence contains
    relevance = 1 - (1 - P(cosine)) (1 - P(terms)), because each branch alone can find a hit

A cosine alone says little, because some chunk is nearest to any query: the vector of a text that means nothing to a
model is near to all images alike. So the mean and the deviation of the query's cosines to a sample are evidence, too.
How much each counts depends on the embedder: `calibrations.toml` holds what benchmarks/relevance.py fitted.
"""

import math
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from florence_rag.index.base import ChunkReader
from florence_rag.retrieval.evidence import TermMatch
from florence_rag.retrieval.query_vector import QueryVector
from florence_rag.types import KINDS, EmbedderInfo, Hit, Kind

SAMPLE_ROWS = 256
"""The vectors of each kind that a query is compared with."""
_SAMPLE_S = 600.0
_PRIOR_ROWS = 10
"""The weight of the typical mean and deviation, in rows of the sample, because a small collection shows little."""
_COLLECTION_ROWS = 50
"""The smallest number of texts by which the rarity of a term is judged."""
# Fitted by benchmarks/relevance.py; independent of the embedder.
_SHARE_WEIGHT, _RARITY_WEIGHT, _TERMS_OFFSET = 79.5, 10.0, -81.65


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the cosines of one kind of chunk relate to relevance: the weights of a logistic regression.

    Attributes:
        similarity: The weight of the cosine.
        mean: The weight of the mean cosine of the sample.
        deviation: The weight of its standard deviation.
        offset: The constant.
        typical_mean: The mean cosine of a query that the model understands.
        typical_deviation: Its standard deviation.
    """

    similarity: float
    mean: float
    deviation: float
    offset: float
    typical_mean: float
    typical_deviation: float

    def probabilities(self, cosines: np.ndarray, query: QueryVector, sample: np.ndarray) -> np.ndarray:
        """Return the probabilities that chunks with these cosines (N,) to a query are relevant, given a sample (M, D).

        The sample's mean cosine to the negative parts is added, so that a chunk that has as much to do with them as any
        other has the relevance to the positive parts.
        """
        share = len(sample) / (len(sample) + _PRIOR_ROWS)
        positive, negative = (sample @ vector if share else np.zeros(1) for vector in (query.positive, query.negative))
        mean = share * positive.mean() + (1 - share) * self.typical_mean
        deviation = share * positive.std() + (1 - share) * self.typical_deviation
        typical_negative = self.typical_mean * np.linalg.norm(query.negative)
        subtracted = share * negative.mean() + (1 - share) * typical_negative
        differences = np.linalg.norm(query.difference) * cosines + subtracted
        background_weight = self.mean * mean + self.deviation * deviation + self.offset
        probabilities: np.ndarray = _logistic(self.similarity * differences + background_weight)
        return probabilities


@cache
def _tables() -> tuple[Mapping[str, Any], ...]:
    return tuple(tomllib.loads(Path(__file__).with_name("calibrations.toml").read_text("utf-8")).values())


@cache
def _calibrations() -> Mapping[str, Mapping[str, Calibration]]:
    return {table["fingerprint"]: {kind: Calibration(**table[kind]) for kind in KINDS} for table in _tables()}


def calibration_of(embedder: EmbedderInfo) -> Mapping[str, Calibration]:
    """Return the calibration of each kind of chunk for the weights of an embedder; nothing if there is none."""
    return _calibrations().get(embedder.fingerprint, {})


def usual_min_relevance(embedder: EmbedderInfo) -> float:
    """Return the relevance below which a hit is nearly certainly wrong; 0 if it is not known."""
    known = (table["min_relevance"] for table in _tables() if table["fingerprint"] == embedder.fingerprint)
    return float(next(known, 0.0))


class BackgroundSample:
    """Vectors of a random sample of an index, by kind, read when they are needed.

    The ids of chunks of files are digests, so the rows with the smallest ids are a random sample. It is read again when
    it is ten minutes old, or when a search finds more than it holds. It is not stored, so it fits any database.
    """

    def __init__(self) -> None:
        self._samples: dict[tuple[str, Kind], tuple[float, np.ndarray]] = {}

    def vectors(self, index: ChunkReader, embedder: EmbedderInfo, kind: Kind, found: int) -> np.ndarray:
        """Return the vectors (N, D), N at most SAMPLE_ROWS; a search has found this number of chunks of the kind."""
        key = embedder.fingerprint, kind
        read_at, vectors = self._samples.get(key, (-math.inf, np.empty((0, embedder.dimension))))
        if time.monotonic() - read_at > _SAMPLE_S or len(vectors) < min(found, SAMPLE_ROWS):
            vectors = index.vectors([hit.id for hit in islice(index.find(kinds={kind}), SAMPLE_ROWS)])
            self._samples[key] = time.monotonic(), vectors
        return vectors


def weigh_cosines(
    query: QueryVector, hits: Sequence[Hit], index: ChunkReader, embedder: EmbedderInfo, sample: BackgroundSample
) -> dict[str, float]:
    """Return the probability of each hit of a search by a vector, by id; the score of a hit is its cosine."""
    by_kind: defaultdict[Kind, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_kind[hit.kind].append(hit)
    weighed: dict[str, float] = {}
    for kind, some in by_kind.items():
        cosines = np.array([hit.score for hit in some])
        vectors = sample.vectors(index, embedder, kind, len(some))
        probabilities = calibration_of(embedder)[kind].probabilities(cosines, query, vectors)
        weighed.update(zip((hit.id for hit in some), probabilities.tolist(), strict=True))
    return weighed


@dataclass(frozen=True, slots=True)
class TermEvidence:
    """The evidence of the terms in one text: their weighted share in one sentence, and the weight of its rarest one."""

    share: float
    rarity: float

    @property
    def probability(self) -> float:
        """The probability that the text is relevant."""
        return float(_logistic(_SHARE_WEIGHT * self.share + _RARITY_WEIGHT * self.rarity + _TERMS_OFFSET))


def weigh_terms(count: int, matches: Sequence[TermMatch]) -> list[TermEvidence]:
    """Return the evidence in each of the best texts for a query of `count` terms.

    A term that few of these texts contain is rare in the collection, because rare terms rank highest; one that none of
    them contains is missing from it.
    """
    containing = Counter(number for match in matches for number in frozenset().union(*match.by_sentence))
    weights = [math.log(1 + _COLLECTION_ROWS / (containing[number] + 0.5)) for number in range(count)]

    def weight(numbers: Collection[int]) -> float:
        return sum(weights[number] for number in numbers)

    best = [max(match.by_sentence, key=weight, default=frozenset()) for match in matches]
    total = sum(weights) or 1.0
    return [TermEvidence(weight(some) / total, max((weights[i] for i in some), default=0.0)) for some in best]


def combine(probabilities: Collection[float]) -> float | None:
    """Return the probability that at least one of several independent pieces of evidence is right; None for none."""
    return 1 - math.prod(1 - probability for probability in probabilities) if probabilities else None


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(np.minimum(-x, 500.0)))
