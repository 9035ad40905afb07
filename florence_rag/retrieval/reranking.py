"""Reranks the best hits by a model that scores each together with the query.

The new score is a weighted mean of the reranker's score in [0, 1] and the search's score, divided by the best one. So
if no hit seems to match, or the reranker cannot read printed text, the search decides. Only hits that could be scored
change places, among themselves, and each place keeps its score.
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
    """The position of a hit, its score in [0, 1], and whether its frames or its text were scored."""

    place: int
    fit: float
    seen: bool

    @property
    def reason(self) -> str:
        """Return the reason for a person."""
        return f"fits the query ({self.fit:.2f})" if self.seen else f"its words fit the query ({self.fit:.2f})"


class Reranking:
    """Reranks the first `depth` hits of a search."""

    def __init__(self, reranker: Reranker, load_frames: LoadFrames | None, depth: int) -> None:
        self._reranker = reranker
        self._load_frames = load_frames
        self._depth = depth

    def __call__(self, hits: Sequence[Hit], text: str, share: float) -> list[Hit]:
        """Return the hits in a new order; share in (0, 1] is the weight of the reranker."""
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
        """Return the hits that could be scored; of several frames, the best score counts."""
        candidates = [self._candidates(hit) for hit in hits]
        scores = iter(self._reranker.score(text, [each for some in candidates for each in some]).tolist())
        return [
            _Judged(place, max(next(scores) for _ in some), not isinstance(some[0], str))
            for place, some in enumerate(candidates)
            if some
        ]

    def _candidates(self, hit: Hit) -> Sequence[Frame | str]:
        """Return the frames of a hit, or its text if the reranker scores text."""
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
