"""Combines the similarity of a region with that of its whole image, in a search by text."""

from __future__ import annotations

from collections.abc import Iterable

from florence_rag.types import Hit

REGION_SHARE = 0.7
"""The rest belongs to the whole image: a query may describe more than any one region shows ("a car next to a tree")."""


def rank_regions(hits: Iterable[Hit]) -> list[Hit]:
    """Hits by their cosine, best first -> the same, each region ranked by its own cosine and that of its picture.

    The picture of a region that is not among the hits has at most the cosine of the last one.
    """
    found = list(hits)
    wholes = {hit.uri: hit.score for hit in found if hit.kind == "image" and hit.locator.box is None}

    def likeness(hit: Hit) -> float:
        if hit.kind != "image" or hit.locator.box is None:
            return hit.score
        return REGION_SHARE * hit.score + (1 - REGION_SHARE) * wholes.get(hit.uri, found[-1].score)

    return sorted(found, key=likeness, reverse=True)
