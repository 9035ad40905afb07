"""Maximal marginal relevance: hits that are near the query and differ from each other.

Carbonell and Goldstein, SIGIR 1998: the next hit has the largest similarity to the query minus its similarity to the
hits that are already selected.
"""

from __future__ import annotations

import numpy as np

from florence_rag.errors import InputError


def pick_diverse(nearness: np.ndarray, vectors: np.ndarray, k: int, relevance: float = 0.5) -> list[int]:
    """Return the indices of at most k rows, in the order of selection.

    Args:
        nearness: The similarity of each row to the query, (N,), such as a cosine.
        vectors: The rows, (N, D), of unit length.
        k: The number of rows to select.
        relevance: The weight of the similarity to the query, in [0, 1].

    Raises:
        InputError: If relevance is out of range.
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
