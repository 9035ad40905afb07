"""Selects the sentence of a passage that answers a question best, by a simple rule.

The score of a sentence is the share of the question's terms that it contains, ignoring endings and stop words. Of
equally good sentences the shorter one wins.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

from florence_rag.tokenize import shared_words

_SENTENCE_END = regex.compile(r"(?<=[.\p{SB=STerm}])\s+|(?<=[。！？｡])|\n\s*\n")  # noqa: RUF001
_LONGEST = 400
_FULL = 0.85  # of the length of the next line: letters differ in width


@dataclass(frozen=True, slots=True)
class Quote:
    """A quotation, verbatim except for line breaks, and the query terms that it contains."""

    text: str
    found: tuple[str, ...]


def best_quote(wanted: Sequence[str], sentences: Iterable[str]) -> Quote | None:
    """Return the sentence with most query terms; None if no sentence has any."""
    quotes = (Quote(sentence, shared_words(wanted, sentence)) for sentence in sentences)
    best = max(quotes, key=lambda quote: (len(quote.found), -len(quote.text)), default=None)
    return best if best and best.found else None


def sentences(passage: str) -> list[str]:
    """Return the sentences of a text, one per line; long runs without an end, such as tables, split at lines."""
    return [sentence for block in _SENTENCE_END.split(passage) for sentence in _unwrap(block) if sentence]


def inscriptions(words: str) -> list[str]:
    """Return the OCR text as one quotation, because the lines of a sign belong together, unless it is long."""
    lines = [" ".join(line.split()) for line in words.splitlines()]
    together = " ".join(lines)
    return [together] if len(together) <= _LONGEST else lines


def _unwrap(block: str) -> list[str]:
    """Join a full line to the next one; a heading is shorter and stays separate."""
    lines = [" ".join(line.split()) for line in block.splitlines()]
    joined = lines[:1]
    for before, line in pairwise(lines):
        was_full = len(before) + len(line.split(" ")[0]) >= _FULL * len(line)
        if was_full and len(joined[-1]) + len(line) < _LONGEST:
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined
