"""Reranks images with a matcher, such as METER with its head for image-text matching (ITM)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from florence_rag.errors import InputError
from florence_rag.perception.base import Candidate, Matcher
from florence_rag.types import Frame


class MatcherReranker:
    """A `Reranker` of images: the score is the probability that the query describes the image."""

    reads: frozenset[Candidate] = frozenset({"image"})

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """Score RGB images (H, W, 3) uint8: (N,) float32 in [0, 1]."""
        frames = [candidate for candidate in candidates if not isinstance(candidate, str)]
        if len(frames) < len(candidates):
            raise InputError("a matcher reads images only; rerank passages with a cross-encoder")
        return np.asarray(self._matcher.match(frames, [query] * len(frames)), dtype=np.float32)
