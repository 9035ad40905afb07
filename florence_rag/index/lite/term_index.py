"""BM25 over rows of Milvus Lite, whose terms it stores as packed pairs of a term's number and its count."""

from collections.abc import Mapping, Sequence
from math import log

import numpy as np

_PAIR = np.dtype([("term", "<u4"), ("count", "<f4")])


class TermIndex:
    """Which rows contain a term, and how often; in arrays that are sorted by term.

    Args:
        rows: The packed pairs of each row; None or b"" for a row without terms.
    """

    def __init__(self, rows: Sequence[bytes | None]) -> None:
        packed = [row or b"" for row in rows]
        pairs = np.frombuffer(b"".join(packed), _PAIR)
        row_of_pair = np.repeat(np.arange(len(packed), dtype=np.int32), [len(row) // _PAIR.itemsize for row in packed])
        order = np.argsort(pairs["term"], kind="stable")
        self._terms, starts = np.unique(pairs["term"][order], return_index=True)
        self._bounds = np.append(starts, len(order))
        self._rows, self._counts = row_of_pair[order], pairs["count"][order]
        self.lengths = np.bincount(row_of_pair, weights=pairs["count"], minlength=len(packed)).astype(np.float32)

    def find(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (N,) that contain a term, and how often (N,)."""
        place = int(np.searchsorted(self._terms, np.uint32(term)))  # an int would make numpy copy all terms
        if place == len(self._terms) or self._terms[place] != term:
            return self._rows[:0], self._counts[:0]
        found = slice(*self._bounds[place : place + 2])
        return self._rows[found], self._counts[found]


def bm25_scores(
    indexes: Sequence[TermIndex], current: Sequence[np.ndarray], query: Mapping[int, float], k1: float, b: float
) -> list[np.ndarray]:
    """Return the BM25 score of each row of each index, (N,) float64.

    Args:
        indexes: The terms of all rows of a collection.
        current: Which rows (N,) of each index count in how rare a term is, and how long a text is on average.
        query: The weight of each term.
        k1: How much the repetition of a term counts.
        b: How much the length of a text counts, from 0 to 1.
    """
    scores = [np.zeros(len(index.lengths)) for index in indexes]
    rows = sum(int(mask.sum()) for mask in current)
    all_terms = sum(float(index.lengths[mask].sum()) for index, mask in zip(indexes, current, strict=True))
    mean_length = all_terms / max(rows, 1) or 1.0
    for term, weight in query.items():
        found = [index.find(term) for index in indexes]
        containing = sum(int(mask[numbers].sum()) for mask, (numbers, _) in zip(current, found, strict=True))
        rarity = weight * log((rows - containing + 0.5) / (containing + 0.5) + 1)
        for index, score, (numbers, counts) in zip(indexes, scores, found, strict=True):
            length = index.lengths[numbers] / mean_length
            score[numbers] += rarity * counts * (k1 + 1) / (counts + k1 * (1 - b + b * length))
    return scores
