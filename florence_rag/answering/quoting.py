"""The sentence of a passage that answers a question best, by a rule one can check by eye.

A sentence is as good as the share of the question's words it contains, endings and stop words aside. Of equally good
sentences the shorter wins: it holds less besides the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from florence_rag.words import shared_words

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n\s*\n")  # noqa: RUF001
_LONGEST = 400
_FULL = 0.85


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a passage, verbatim but for line breaks, and which of the wanted words they contain."""

    text: str
    found: tuple[str, ...]


def best_quote(wanted: Sequence[str], sentences: Iterable[str]) -> Quote | None:
    """The sentence with most of the wanted words; None where no sentence has any."""
    quotes = (Quote(sentence, shared_words(wanted, sentence)) for sentence in sentences)
    best = max(quotes, key=lambda quote: (len(quote.found), -len(quote.text)), default=None)
    return best if best and best.found else None


def sentences(passage: str) -> list[str]:
    """The sentences of a text, on one line each."""
    width = max(map(len, passage.splitlines()), default=0)
    parts = (part for block in _SENTENCE_END.split(passage) for part in _unwrap(block, width))
    return [part for part in parts if part]


def inscriptions(words: str) -> list[str]:
    """Words read in a picture: what stands on a sign belongs together, unless it is long."""
    lines = [" ".join(line.split()) for line in words.splitlines()]
    together = " ".join(lines)
    return [together] if len(together) <= _LONGEST else lines


def _unwrap(block: str, width: int) -> list[str]:
    """Joins lines that were broken because they were full; a short line, such as a heading, stands for itself."""
    lines = [" ".join(line.split()) for line in block.splitlines()]
    joined = lines[:1]
    for before, line in pairwise(lines):
        if len(before) + len(line.split(" ")[0]) < _FULL * width:
            joined.append(line)
        else:
            joined[-1] += f" {line}"
    return joined
