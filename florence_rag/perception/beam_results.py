"""Combines the answers of a beam search into one result."""

from __future__ import annotations

import math
from collections.abc import Iterable

from florence_rag.perception.base import VQAResult


def beams_to_result(beams: Iterable[tuple[str, float]]) -> VQAResult:
    """Rank beams, given as (text, log-probability of the whole text).

    The probabilities of beams with the same text add up. The sum of all candidates is at most one, because the search
    does not follow every beam.
    """
    shares: dict[str, float] = {}
    for text, log_probability in beams:
        answer = " ".join(text.split())
        shares[answer] = shares.get(answer, 0.0) + math.exp(min(0.0, log_probability))
    ranked = sorted(((answer, min(1.0, round(p, 4))) for answer, p in shares.items()), key=lambda pair: -pair[1])
    candidates = tuple(pair for pair in ranked if pair[0])
    return VQAResult(*candidates[0], candidates) if candidates else VQAResult("", 0.0, ())
