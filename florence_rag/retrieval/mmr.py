"""Maximal marginal relevance: hits that are near the query and differ from each other.

Carbonell and Goldstein, SIGIR 1998: the next hit has the largest similarity to the query minus its similarity to the
hits that are already selected.
"""

import numpy as np

from florence_rag.errors import InputError


def pick_diverse(relevance: np.ndarray, vectors: np.ndarray, k: int, relevance_weight: float = 0.5) -> list[int]:
    """Return the indices of at most k of the unit vectors (N, D), in the order of selection.

    The relevance (N,) is the similarity of each row to the query; its weight lies in [0, 1].
    """
    if not 0 <= relevance_weight <= 1:
        raise InputError(f"relevance must lie between 0 and 1, got {relevance_weight!r}")
    if k < 1 or not len(vectors):
        return []
    selected = [int(relevance.argmax())]
    redundancy = vectors @ vectors[selected[0]]  # the similarity to the nearest selected row
    while len(selected) < min(k, len(vectors)):
        gain = relevance_weight * relevance - (1 - relevance_weight) * redundancy
        gain[selected] = -np.inf
        selected.append(int(gain.argmax()))
        redundancy = np.maximum(redundancy, vectors @ vectors[selected[-1]])
    return selected
