"""The sentence of a passage that answers a question best, by a rule one can check by eye.

A sentence is as good as the share of the question's words it contains, endings and stop words aside. Of equally good
sentences the shorter wins: it holds less besides the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from florence_rag.tokenize import shared_words

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n\s*\n")  # noqa: RUF001
_LONGEST = 400
_FULL = 0.85  # of the length of the next line: letters differ in width


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
    """The sentences of a text, on one line each. What has no end for long, such as a table, is cut at its lines."""
    return [sentence for block in _SENTENCE_END.split(passage) for sentence in _unwrap(block) if sentence]


def inscriptions(words: str) -> list[str]:
    """Words read in a picture: what stands on a sign belongs together, unless it is long."""
    lines = [" ".join(line.split()) for line in words.splitlines()]
    together = " ".join(lines)
    return [together] if len(together) <= _LONGEST else lines


def _unwrap(block: str) -> list[str]:
    """Joins a line to the next where it was broken because it was full; a heading is shorter and stands for itself."""
    lines = [" ".join(line.split()) for line in block.splitlines()]
    joined = lines[:1]
    for before, line in pairwise(lines):
        was_full = len(before) + len(line.split(" ")[0]) >= _FULL * len(line)
        if was_full and len(joined[-1]) + len(line) < _LONGEST:
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined
