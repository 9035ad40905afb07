"""Labels as they are given, and what a classifier says of one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from florence_rag.errors import InputError

LISTED = 5


@dataclass(frozen=True, slots=True)
class Classified:
    """The likeliest label of one picture. confidence in [0, 1]; candidates: the best labels, with theirs, best first.

    source: its file, "" for pixels. id: of the indexed picture, "" for any other.
    """

    label: str
    confidence: float
    candidates: tuple[tuple[str, float], ...]
    source: str = ""
    id: str = ""

    def named(self, source: str, id: str = "") -> Classified:
        """The same, of this picture."""
        return replace(self, source=source, id=id)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; where it is from only if that is known."""
        where = {name: value for name, value in (("source", self.source), ("id", self.id)) if value}
        candidates = [list(candidate) for candidate in self.candidates]
        return {**where, "label": self.label, "confidence": self.confidence, "candidates": candidates}


class Classifier(Protocol):
    """Tells classes apart by the vectors of pictures."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What it knows."""
        ...

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) unit vectors of pictures -> (N, labels) float32, rows sum to one."""
        ...


def classify(classifier: Classifier, vectors: np.ndarray, listed: int = LISTED) -> list[Classified]:
    """What it says of each of the pictures whose vectors are (N, D); listed: how many candidates."""
    shares = classifier.probabilities(vectors)
    order = np.argsort(-shares, axis=1, kind="stable")[:, :listed]
    rows = zip(shares, order, strict=True)
    return [_classified([(classifier.labels[i], round(float(row[i]), 4)) for i in best]) for row, best in rows]


def _classified(candidates: Sequence[tuple[str, float]]) -> Classified:
    return Classified(*candidates[0], tuple(candidates))


def check_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels without outer spaces; InputError for fewer than two, empty ones, and two that are one."""
    given = [labels] if isinstance(labels, str) else list(labels)
    if isinstance(labels, str) or not all(isinstance(label, str) for label in given):
        raise InputError(f"labels must be a list of texts, not {labels!r:.80}")
    clean = tuple(" ".join(label.split()) for label in given)
    if empty := [number for number, label in enumerate(clean, start=1) if not label]:
        raise InputError(f"label {empty[0]} of {len(clean)} is empty; leave it out, or give it a name")
    first: dict[str, str] = {}
    for label in clean:
        if (other := first.setdefault(label.casefold(), label)) != label:
            raise InputError(f"the labels {other!r} and {label!r} differ in case alone; write one class in one way")
    if len(first) < len(clean):
        twice = next(label for label in clean if clean.count(label) > 1)
        raise InputError(f"the label {twice!r} is given twice; give each once")
    if len(clean) < 2:
        raise InputError(f"labels are {list(clean)!r}: with fewer than two there is nothing to tell apart")
    return clean
