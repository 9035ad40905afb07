"""Search for moments: clips of videos that a text describes, those apart that are mostly the same time."""

from __future__ import annotations

from collections.abc import Iterable

from florence_rag.types import Hit

IMAGE_SHARE = 0.25
"""The weight of visual similarity in a search for moments, relative to that of other searches.

A caption says what happens; what the frames show says mostly who and where.
"""
_SAME_OVERLAP = 0.5


def temporal_nms(hits: Iterable[Hit], k: int) -> list[Hit]:
    """Return the first k hits, without those that are mostly the same time of the same video as a better one."""
    best: list[Hit] = []
    for hit in hits:
        if len(best) == k:
            break
        if all(hit.source != other.source or overlap(_span(hit), _span(other)) < _SAME_OVERLAP for other in best):
            best.append(hit)
    return best


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the intersection over union of two spans of time, in [0, 1]."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(common, 0.0) / max(max(one[1], other[1]) - min(one[0], other[0]), 1e-9)


def _span(hit: Hit) -> tuple[float, float]:
    return hit.locator.start_s or 0.0, hit.locator.end_s or 0.0
