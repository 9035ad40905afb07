"""Hits that are near the query and differ from each other: maximal marginal relevance.

Carbonell and Goldstein, SIGIR 1998: each next hit is the one whose nearness to the query, less its nearness to what is
already chosen, is largest.
"""

from __future__ import annotations

import numpy as np

from florence_rag.errors import InputError


def pick_diverse(query: np.ndarray, vectors: np.ndarray, k: int, relevance: float = 0.5) -> list[int]:
    """The rows of vectors (N, D) to keep, at most k, in the order of choice. query: (D,); all of unit length.

    relevance: what nearness to the query counts against novelty, in [0, 1].
    """
    if not 0 <= relevance <= 1:
        raise InputError(f"relevance must lie between 0 and 1, got {relevance!r}")
    nearness = vectors @ query
    known = np.zeros(len(vectors))  # nearness to the nearest of the chosen; the first is chosen by the query alone
    chosen: list[int] = []
    while len(chosen) < min(k, len(vectors)):
        gain = nearness if not chosen else relevance * nearness - (1 - relevance) * known
        gain = np.where(np.isin(np.arange(len(vectors)), chosen), -np.inf, gain)
        chosen.append(int(gain.argmax()))
        alike = vectors @ vectors[chosen[-1]]
        known = alike if len(chosen) == 1 else np.maximum(known, alike)
    return chosen
