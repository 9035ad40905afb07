"""Answers that a beam search found, as one result."""

from __future__ import annotations

import math
from collections.abc import Iterable

from florence_rag.perception.base import VQAResult


def beams_to_result(beams: Iterable[tuple[str, float]]) -> VQAResult:
    """Beams as (text, logarithm of the probability of the whole text) -> the answers, likeliest first.

    Beams that say the same are one answer and their probabilities add up. What the search did not follow has the rest,
    so candidates sum to one at most.
    """
    shares: dict[str, float] = {}
    for text, log_probability in beams:
        answer = " ".join(text.split())
        shares[answer] = shares.get(answer, 0.0) + math.exp(min(0.0, log_probability))
    ranked = sorted(((answer, min(1.0, round(p, 4))) for answer, p in shares.items()), key=lambda pair: -pair[1])
    said = tuple(pair for pair in ranked if pair[0])
    return VQAResult(*said[0], said) if said else VQAResult("", 0.0, ())
