"""The best hits, each looked at together with the query, and put into a better order.

What the reranker says of a hit, in [0, 1], counts for a share; the search's score, divided by the best of them, for the
rest. So where nothing seems to fit, or the reranker cannot read what is printed, the search has the last word.
Only hits that could be looked at change places, among themselves, and a place keeps its score.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from florence_rag.errors import MediaError
from florence_rag.perception.base import Reranker
from florence_rag.types import Frame, Hit

log = logging.getLogger(__name__)

LoadFrames = Callable[[Hit], Sequence[Frame]]


@dataclass(frozen=True, slots=True)
class _Judged:
    """Where a hit stood, how well it fits in [0, 1], and whether its pictures were seen or its words read."""

    place: int
    fit: float
    seen: bool

    @property
    def reason(self) -> str:
        """For a person."""
        return f"fits the query ({self.fit:.2f})" if self.seen else f"its words fit the query ({self.fit:.2f})"


class Reranking:
    """Lets a reranker look at the first `depth` hits of a search."""

    def __init__(self, reranker: Reranker, load_frames: LoadFrames | None, depth: int) -> None:
        self._reranker = reranker
        self._load_frames = load_frames
        self._depth = depth

    def __call__(self, hits: Sequence[Hit], text: str, share: float) -> list[Hit]:
        """The same hits in another order. share in (0, 1]: what the reranker's word counts."""
        judged = self._judged(hits[: self._depth], text)
        best = max((hit.score for hit in hits), default=0.0) or 1.0
        ranked = sorted(judged, key=lambda each: -share * each.fit - (1 - share) * hits[each.place].score / best)
        ordered = list(hits)
        for place, each in zip((each.place for each in judged), ranked, strict=True):
            hit = hits[each.place]
            explanation = "; ".join(filter(None, (each.reason, hit.explanation)))
            ordered[place] = replace(hit, score=hits[place].score, explanation=explanation)
        return ordered

    def _judged(self, hits: Sequence[Hit], text: str) -> list[_Judged]:
        """The hits that could be looked at. Of several pictures the one that fits best counts."""
        candidates = [self._candidates(hit) for hit in hits]
        scores = iter(self._reranker.score(text, [each for some in candidates for each in some]).tolist())
        return [
            _Judged(place, max(next(scores) for _ in some), not isinstance(some[0], str))
            for place, some in enumerate(candidates)
            if some
        ]

    def _candidates(self, hit: Hit) -> Sequence[Frame | str]:
        """The pictures of a hit, or else its words, as far as the reranker reads them."""
        frames = self._frames(hit) if "image" in self._reranker.reads and hit.kind != "text" else ()
        if frames:
            return frames
        return [hit.content] if "text" in self._reranker.reads and hit.content.strip() else []

    def _frames(self, hit: Hit) -> Sequence[Frame]:
        if self._load_frames is None:
            return ()
        try:
            return self._load_frames(hit)
        except MediaError as error:
            log.warning("%s is ranked without its picture: %s", hit.source, error)
            return ()
