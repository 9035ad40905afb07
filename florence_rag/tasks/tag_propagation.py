"""Tags from two witnesses: what the labels themselves say of a picture, and the tags of its nearest tagged neighbours.

Both are weighed by a logistic regression (Platt scaling, 1999), learned from the tagged items, each seen as if it were
new: its own tags have no vote on it. So a confidence of 0.8 is right in about 8 of 10 cases among items like these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from florence_rag.embedding.base import CLIP_LOGIT_SCALE
from florence_rag.tasks.probe import logistic_regression
from florence_rag.tasks.zero_shot import softmax

NEIGHBOURS = 10
LEAST = 10
"""Fewer tagged items calibrate nothing: then the labels compete with each other, as in zero-shot classification."""
_WARMTH = 0.05
_DOUBT = 0.05
_FOLDS = 5
_BINS = 10


@dataclass(frozen=True, slots=True)
class Quality:
    """How well tags agree with those of people, on tagged items that were left out in turn, at a threshold.

    precision: of the tags that were given, how many are right; recall: of the right ones, how many were given. unsure:
    how many items got none. calibration_error: how far confidences are from the share that is right, in the mean.
    """

    items: int
    precision: float
    recall: float
    unsure: float
    calibration_error: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Items that people tagged. vectors: (M, D), unit length. has: (M, labels) bool."""

    vectors: np.ndarray
    has: np.ndarray

    def part(self, rows: np.ndarray) -> Known:
        """Some of them."""
        return Known(self.vectors[rows], self.has[rows])

    def can_teach(self) -> bool:
        """Whether there are enough, with and without tags of these labels."""
        return len(self.has) >= LEAST and bool(self.has.any()) and not bool(self.has.all())


@dataclass(frozen=True, slots=True, eq=False)
class Tagger:
    """labels: (labels, D) unit vectors of them. weights: what each witness counts, and a constant; None where nothing
    calibrates them. middle, spread: (labels,) of the cosines of each label. scale: of cosines for a softmax."""

    labels: np.ndarray
    known: Known
    weights: np.ndarray | None
    middle: np.ndarray
    spread: np.ndarray
    scale: float

    def confidences(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) unit vectors of pictures -> (N, labels) in [0, 1]."""
        if self.weights is None:
            return softmax(self.scale * (vectors @ self.labels.T))
        return _sigmoid(self._evidence(vectors) @ self.weights[:2] + self.weights[2])

    def _evidence(self, vectors: np.ndarray) -> np.ndarray:
        return evidence(
            vectors @ self.labels.T, vectors @ self.known.vectors.T, self.known.has, self.middle, self.spread
        )


def train_tagger(labels: np.ndarray, known: Known, scale: float = CLIP_LOGIT_SCALE) -> Tagger:
    """Weigh the witnesses on what is known, if that is enough."""
    if not known.can_teach():
        return Tagger(labels, known, None, np.zeros(len(labels)), np.ones(len(labels)), scale)
    cosines = known.vectors @ labels.T
    middle, spread = cosines.mean(axis=0), cosines.std(axis=0) + 1e-6
    alike = known.vectors @ known.vectors.T
    np.fill_diagonal(alike, -np.inf)  # an item is no neighbour of itself
    told = evidence(cosines, alike, known.has, middle, spread).reshape(-1, 2)
    model: Any = logistic_regression()(C=1.0).fit(told, known.has.reshape(-1))
    weights = np.array([*model.coef_[0], model.intercept_[0]])
    return Tagger(labels, known, weights, middle, spread, scale)


def evidence(
    cosines: np.ndarray, alike: np.ndarray, has: np.ndarray, middle: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """(N, labels, 2): how far each label is above its mean, and the log odds that the neighbours give it.

    cosines: (N, labels), with the labels. alike: (N, M), with the known items, whose tags are has (M, labels).
    """
    nearest = np.argsort(-alike, axis=1)[:, :NEIGHBOURS]
    near = np.take_along_axis(alike, nearest, axis=1)
    votes = np.exp((near - near[:, :1]) / _WARMTH)
    shares = (votes[:, :, None] * has[nearest]).sum(axis=1) / votes.sum(axis=1)[:, None]
    odds = np.log((shares + _DOUBT) / (1 - shares + _DOUBT))
    return np.stack([(cosines - middle) / spread, odds], axis=-1)


def agreement(labels: np.ndarray, known: Known, threshold: float) -> Quality | None:
    """In five folds: each fifth is tagged by what the others teach; None where there are too few."""
    folds = np.random.default_rng(0).permutation(len(known.has)) % _FOLDS
    parts = [known.part(folds != fold) for fold in range(_FOLDS)]
    if not all(part.can_teach() for part in parts):
        return None
    said = np.zeros(known.has.shape)
    for fold, part in enumerate(parts):
        said[folds == fold] = train_tagger(labels, part).confidences(known.vectors[folds == fold])
    return _quality(said, known.has, threshold)


def _quality(said: np.ndarray, has: np.ndarray, threshold: float) -> Quality:
    given = said >= threshold
    right = int((given & has).sum())
    return Quality(
        items=len(has),
        precision=right / max(int(given.sum()), 1),
        recall=right / max(int(has.sum()), 1),
        unsure=float(1 - given.any(axis=1).mean()),
        calibration_error=_calibration_error(said.reshape(-1), has.reshape(-1)),
    )


def _calibration_error(said: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Guo et al., ICML 2017) over ten bins of confidence."""
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    apart = [abs(said[bins == i].mean() - right[bins == i].mean()) * (bins == i).mean() for i in set(bins.tolist())]
    return float(sum(apart))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))


def ranked(labels: Sequence[str], confidences: np.ndarray) -> list[tuple[str, float]]:
    """Of one picture, (labels,): best first."""
    order = np.argsort(-confidences, kind="stable")
    return [(labels[i], round(float(confidences[i]), 4)) for i in order]
