"""Lets a Matcher, such as METER with its image-text matching head, rerank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from florence_rag.errors import InputError
from florence_rag.perception.base import Candidate, Matcher
from florence_rag.types import Frame


class MatcherReranker:
    """A Reranker of pictures: the score is the probability that the query describes the picture."""

    reads: frozenset[Candidate] = frozenset({"image"})

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """(N,) float32 in [0, 1], one per picture, (H, W, 3) uint8 RGB."""
        frames = [candidate for candidate in candidates if not isinstance(candidate, str)]
        if len(frames) < len(candidates):
            raise InputError("a matcher reads pictures only; rerank passages with a cross-encoder")
        return np.asarray(self._matcher.match(frames, [query] * len(frames)), dtype=np.float32)
