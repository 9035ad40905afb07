"""More like these, and not like those: what is near the liked items, away from the disliked, new, and varied.

Each liked item looks for itself, moved away from what is disliked (Rocchio, 1971), so that two tastes do not become
their mean, which is neither. A find is ranked by its best place with any of them, and by its mean place: a cosine with
a text and one with a picture share no scale. What was seen, or looks the same, is left out; and of the rest each next
one is also unlike those before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from florence_rag.embedding.base import unit_rows
from florence_rag.index.base import ChunkIndex, Filter
from florence_rag.retrieval.grouping import group_hits
from florence_rag.retrieval.mmr import pick_diverse
from florence_rag.retrieval.perceptual_hash import Looks
from florence_rag.types import Hit, Kind

_PUSH = 0.5
_RANK_OFFSET = 10
_CONSENSUS = 0.25  # what the mean place counts against the best
_REASONS = 3
_MOMENTS = 10
_POOL = 4
_DEPTH, _MAX_DEPTH = 50, 5000


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An item that is liked, disliked or was seen. name: for a person. vector: (D,), unit length.

    uri: of its source, "" of words and pixels. look: metadata with its look, as retrieval/looks.py keeps it.
    """

    name: str
    vector: np.ndarray
    uri: str = ""
    look: dict[str, str] | None = None


class Seen:
    """What must not be recommended: anything of the same sources, and pictures that look the same or are of a burst."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._uris: set[str] = set()
        self._looks = Looks()
        for example in examples:
            self._uris.add(example.uri)
            self._looks.put(example.look or {})

    def has(self, hit: Hit) -> bool:
        """Whether it, or one of its moments, is such."""
        return any(each.uri in self._uris or self._is_alike(each) for each in (hit, *hit.grouped_hits))

    def _is_alike(self, hit: Hit) -> bool:
        return hit.kind == "image" and self._looks.find(hit.metadata) is not None


def recommend(
    index: ChunkIndex,
    liked: Sequence[Example],
    disliked: Sequence[Example],
    seen: Collection[Example],
    k: int,
    *,
    kinds: Collection[Kind] | None = None,
    filter: Filter | None = None,
    diversity: float = 0.3,
) -> list[Hit]:
    """The k best, or as many as there are. diversity: from 0, the best alone, to 1, as unlike each other as can be."""
    away = directions(liked, disliked)
    known = Seen([*liked, *disliked, *seen])
    depth = max(_DEPTH, _POOL * k)
    while True:
        found = [index.search_vector(vector, depth, kinds=kinds, filter=filter) for vector in away]
        fresh = [hit for hit in group_hits(_ranked(found, liked), _MOMENTS) if not known.has(hit)]
        if len(fresh) >= _POOL * k or depth >= _MAX_DEPTH or all(len(hits) < depth for hits in found):
            return _diverse(index.vectors, fresh[: max(_POOL * k, _DEPTH)], k, diversity)
        depth = min(4 * depth, _MAX_DEPTH)


def directions(liked: Sequence[Example], disliked: Sequence[Example]) -> np.ndarray:
    """(liked, D): where each liked item looks, away from the middle of what is disliked."""
    towards = np.stack([example.vector for example in liked])
    if not disliked:
        return towards
    return unit_rows(towards - _PUSH * np.mean([example.vector for example in disliked], axis=0))


def _ranked(found: Sequence[Sequence[Hit]], liked: Sequence[Example]) -> list[Hit]:
    """All that any of the liked items found, best first."""
    earned: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for hits, like in zip(found, liked, strict=True):
        for rank, hit in enumerate(hits):
            reason = f"is like {like.name} ({hit.score:.2f})" if hit.score > 0 else ""
            earned[hit.id].append((_RANK_OFFSET / (_RANK_OFFSET + rank), reason))
    each = {hit.id: hit for hits in found for hit in hits}.values()
    ranked = [_scored(hit, sorted(earned[hit.id], reverse=True), len(liked)) for hit in each]
    return sorted(ranked, key=lambda hit: (-hit.score, hit.id))


def _scored(hit: Hit, earned: Sequence[tuple[float, str]], likes: int) -> Hit:
    mean = sum(share for share, _ in earned) / likes
    score = (1 - _CONSENSUS) * earned[0][0] + _CONSENSUS * mean
    return replace(hit, score=score, explanation="; ".join(reason for _, reason in earned[:_REASONS] if reason))


def _diverse(vectors: Callable[[list[str]], np.ndarray], hits: list[Hit], k: int, diversity: float) -> list[Hit]:
    if not hits:
        return []
    best = max(hit.score for hit in hits)
    scaled = [replace(hit, score=hit.score / best) for hit in hits]
    nearness = np.array([hit.score for hit in scaled])
    chosen = pick_diverse(nearness, vectors([hit.id for hit in hits]), k, 1 - diversity)
    return [scaled[i] for i in chosen]
