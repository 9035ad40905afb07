"""The sentence of a passage that answers a question best, by a rule one can check by eye.

A sentence is as good as the share of the question's words it contains, endings and stop words aside. Of equally good
sentences the shorter wins: it holds less besides the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from florence_rag.words import shared_words

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n\s*\n")  # noqa: RUF001
_LINE_END = re.compile(r"\n+")
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a passage, verbatim but for line breaks, and which of the wanted words they contain."""

    text: str
    found: tuple[str, ...]


def best_quote(wanted: Sequence[str], passage: str) -> Quote | None:
    """The sentence with most of the wanted words; None where no sentence has any."""
    quotes = (Quote(sentence, shared_words(wanted, sentence)) for sentence in sentences(passage))
    best = max(quotes, key=lambda quote: (len(quote.found), -len(quote.text)), default=None)
    return best if best and best.found else None


def sentences(passage: str) -> list[str]:
    """Sentences on one line each. What has no punctuation for long, such as a list, is cut at its lines."""
    parts: list[str] = []
    for sentence in _SENTENCE_END.split(passage):
        parts += [sentence] if len(sentence) <= _LONGEST else _LINE_END.split(sentence)
    return [" ".join(part.split()) for part in parts if part.strip()]
