"""The probability that a hit is what a query asks for, from the evidence of each branch.

    cosine      compared with the best cosines that everyday texts have in the collection (`background.py`)
    terms       the share of the query's terms, weighted by their rarity, that one sentence contains
    relevance = 1 - (1 - P(cosine)) (1 - P(terms)), because each branch alone can find a hit

A cosine alone says little, because some chunk is nearest to any query. How a cosine relates to relevance depends on the
embedder: `calibrations.toml` holds what was fitted to known answers, and an index what was fitted to its own chunks.
For all others, the distance from the background decides.
"""

import math
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from florence_rag.index.base import HasCalibrations
from florence_rag.retrieval.background import Background, BackgroundSample
from florence_rag.retrieval.evidence import TermMatch
from florence_rag.retrieval.query_vector import QueryVector
from florence_rag.tokenize import content_words
from florence_rag.types import KINDS, EmbedderInfo, Hit, Kind

DEFAULT_MIN_RELEVANCE = 0.2
"""The relevance below which answers and tools leave hits out, unless the calibration of the embedder names another."""
WEIGHTS = ("similarity", "mean", "deviation", "log_rows", "generic", "unknown")
"""The fields of a calibration that are weights, in the order of its features."""
PRIOR_ROWS = 10
"""The weight of the typical mean and deviation, in rows of the sample, because a small collection shows little."""
_COLLECTION_ROWS = 50
"""The smallest number of texts by which the rarity of a term is judged."""
# Fitted by benchmarks/relevance.py; independent of the embedder.
_SHARE_WEIGHT, _RARITY_WEIGHT, _TERMS_OFFSET = 79.5, 10.0, -81.65
_PARTIAL_WEIGHT = 0.04
"""What a part of the terms is worth: more than nothing, and less than the default thresholds."""
_DISTANCE_WEIGHT, _DISTANCE_OFFSET = 1.3, -1.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the cosines of one kind of chunk to a text relate to relevance: the weights of a logistic regression.

    Attributes:
        similarity: The weight of the cosine.
        mean: The weight of the mean cosine of the sample.
        deviation: The weight of its standard deviation.
        offset: The constant; -inf if cosines of this kind tell nothing.
        typical_mean: The mean cosine of a query that the model understands.
        typical_deviation: Its standard deviation.
        log_rows: The weight of the logarithm of the number of rows of the sample: more rows have more near misses.
        generic: The weight of the mean cosine to everyday texts, which says how little the model knows the words.
        unknown: The weight of the share of the query's words that the model was not trained with.
    """

    similarity: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0
    offset: float = 0.0
    typical_mean: float = 0.0
    typical_deviation: float = 0.0
    log_rows: float = 0.0
    generic: float = 0.0
    unknown: float = 0.0

    def features(
        self, cosines: np.ndarray, query: QueryVector, background: Background, unknown: float = 0.0
    ) -> np.ndarray:
        """Return (N, 6): the cosine (N,) of each chunk to the positive parts, and what the other weights multiply.

        `unknown` is the share of the query's words that the model was not trained with.
        """
        positive = background.sample @ query.positive
        rows = len(positive)
        shrunk = rows / (rows + PRIOR_ROWS)
        mean = shrunk * (positive.mean() - self.typical_mean) if rows else 0.0
        deviation = shrunk * (positive.std() - self.typical_deviation) if rows else 0.0
        generic = (background.texts @ query.positive).mean()
        by_query = np.tile([mean, deviation, math.log(max(rows, 1)), generic, unknown], (len(cosines), 1))
        return np.column_stack([cosines, by_query])

    def probabilities(
        self, cosines: np.ndarray, query: QueryVector, background: Background, unknown: float = 0.0
    ) -> np.ndarray:
        """Return the probabilities that chunks are relevant; the arguments are those of `features`."""
        if self.offset == -math.inf:
            return np.zeros(len(cosines))
        weights = [getattr(self, name) for name in WEIGHTS]
        features = self.features(cosines, query, background, unknown)
        probabilities: np.ndarray = _logistic(features @ weights + self.offset)
        return probabilities


@cache
def _tables() -> Mapping[str, Mapping[str, Any]]:
    tables = tomllib.loads(Path(__file__).with_name("calibrations.toml").read_text("utf-8")).values()
    return {table["fingerprint"]: table for table in tables}


@cache
def _calibrations() -> Mapping[str, Mapping[Kind, Calibration]]:
    return {name: {kind: Calibration(**table[kind]) for kind in KINDS} for name, table in _tables().items()}


def calibration_of(embedder: EmbedderInfo) -> Mapping[Kind, Calibration]:
    """Return the calibration of each kind of chunk for the weights of an embedder; nothing if there is none."""
    return _calibrations().get(embedder.fingerprint, {})


def calibrations_in(index: object) -> Mapping[Kind, Calibration]:
    """Return the calibrations that were fitted to an index and are stored in it."""
    stored = index.calibrations() if isinstance(index, HasCalibrations) else {}
    return msgspec.convert(stored, dict[Kind, Calibration])


def unknown_share(texts: Collection[str], embedder: EmbedderInfo) -> float:
    """Return the share of the words of texts that an embedder was not trained with; 0 if its words are not listed.

    A word before a known one only describes it more closely, as in "a shiny red car", and does not count.
    """
    vocabulary = set(str(_tables().get(embedder.fingerprint, {}).get("vocabulary", "")).split())
    pairs = [pair for text in texts for pair in pairwise([*content_words(text), ""])]
    unknown = sum(vocabulary.isdisjoint(pair) for pair in pairs)
    return unknown / len(pairs) if vocabulary and pairs else 0.0


def usual_min_relevance(embedder: EmbedderInfo) -> float:
    """Return the relevance below which answers and tools leave hits out."""
    return float(_tables().get(embedder.fingerprint, {}).get("min_relevance", DEFAULT_MIN_RELEVANCE))


def weigh_cosines(
    query: QueryVector,
    hits: Sequence[Hit],
    embedder: EmbedderInfo,
    sample: BackgroundSample,
    calibrations: Mapping[Kind, Calibration],
) -> dict[str, float]:
    """Return the probability of each hit of a search by a vector, by id; the score of a hit is its cosine.

    Kinds without a calibration, and queries with images, are compared with the background. The sample's mean cosine to
    the negative parts is added, so that a chunk that has as much to do with them as any other has the relevance to the
    positive parts.
    """
    by_kind: defaultdict[Kind, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_kind[hit.kind].append(hit)
    weighed: dict[str, float] = {}
    unknown = unknown_share(query.texts, embedder)
    for kind, some in by_kind.items():
        background = sample.of(kind, len(some), query.image_share)
        cosines = np.linalg.norm(query.difference) * np.array([hit.score for hit in some])
        if len(background.sample) and query.negative.any():
            cosines += (background.sample @ query.negative).mean()
        calibration = None if query.image_share else calibrations.get(kind)
        if calibration:
            probabilities = calibration.probabilities(cosines, query, background, unknown)
        else:
            probabilities = weigh_distances(background.distances(cosines))
        weighed.update(zip((hit.id for hit in some), probabilities.tolist(), strict=True))
    return weighed


def weigh_distances(distances: np.ndarray) -> np.ndarray:
    """Return the probabilities of hits whose cosines lie so far above the background."""
    probabilities: np.ndarray = _logistic(_DISTANCE_WEIGHT * distances + _DISTANCE_OFFSET)
    return probabilities


@dataclass(frozen=True, slots=True)
class TermEvidence:
    """The evidence of the terms in one text: their weighted share in one sentence, and the weight of its rarest one."""

    share: float
    rarity: float

    @property
    def probability(self) -> float:
        """The probability that the text is relevant, which grows with the share even where hardly any text is."""
        exponent = _SHARE_WEIGHT * self.share + _RARITY_WEIGHT * self.rarity + _TERMS_OFFSET
        fitted = 1 / (1 + math.exp(min(-exponent, 500.0)))  # for one number, NumPy takes twice as long
        return combine((_PARTIAL_WEIGHT * self.share**2, fitted))


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


def combine(probabilities: Collection[float]) -> float:
    """Return the probability that at least one of several independent pieces of evidence is right."""
    return 1 - math.prod(1 - probability for probability in probabilities)


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(np.minimum(-x, 500.0)))
