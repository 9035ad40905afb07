"""Hits that are near the query and differ from each other: maximal marginal relevance.

Carbonell and Goldstein, SIGIR 1998: each next hit is the one whose nearness to the query, less its nearness to what is
already chosen, is largest.
"""

from __future__ import annotations

import numpy as np

from florence_rag.errors import InputError


def pick_diverse(nearness: np.ndarray, vectors: np.ndarray, k: int, relevance: float = 0.5) -> list[int]:
    """The rows of vectors (N, D), of unit length, to keep, at most k, in the order of choice.

    nearness: (N,): of each to what is sought, such as a cosine. relevance: what that counts against novelty, in [0, 1].
    """
    if not 0 <= relevance <= 1:
        raise InputError(f"relevance must lie between 0 and 1, got {relevance!r}")
    known = np.zeros(len(vectors))  # nearness to the nearest of the chosen; the first is the nearest to what is sought
    chosen: list[int] = []
    while len(chosen) < min(k, len(vectors)):
        gain = nearness if not chosen else relevance * nearness - (1 - relevance) * known
        gain = np.where(np.isin(np.arange(len(vectors)), chosen), -np.inf, gain)
        chosen.append(int(gain.argmax()))
        alike = vectors @ vectors[chosen[-1]]
        known = alike if len(chosen) == 1 else np.maximum(known, alike)
    return chosen
