"""Selects the sentences of a passage that may answer a question, by a simple rule.

The score of a sentence is the share of the question's terms that it contains, ignoring endings and stop words. Of
equally good sentences the shorter one wins. To "how many heads ...?", a sentence answers only if it counts heads.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import regex

from florence_rag.tokenize import STOP_WORDS, content_words, coverage, shared_words, stem, words

_SENTENCE_END = regex.compile(r"(?<=[.\p{SB=STerm}])\s+|(?<=[。！？｡])|\n\s*\n")  # noqa: RUF001
_PARAGRAPH = regex.compile(r"\n\s*\n")
_HOW_MANY = regex.compile(r"\b(?:how many|wie ?viele|combien de?|cuant[oa]s|quant[ioea]s?) ((?:\w+ ?){1,3})")
_SECTION = regex.compile(r"\A\d+(?:\.\d+)*\.?\s+(?=\p{Lu})")
"""The number of a heading, which counts nothing."""
_NUMBERS = frozenset(
    """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand dozen""".split()
)
_LEAST_COUNTED = 0.6
_LONGEST = 400
_FULL = 0.85  # of the length of the next line: letters differ in width


@dataclass(frozen=True, slots=True)
class Quote:
    """A quotation, verbatim except for line breaks.

    Attributes:
        text: The sentence.
        confidence: The share of the question's terms in it; of a question for a number, at least 0.6 if the sentence
            counts what is asked for, and else half of the share, because its words only overlap.
        counts: Whether it counts that.
    """

    text: str
    confidence: float
    counts: bool = False


def best_quotes(question: str, sentences: Iterable[str], limit: int = 1) -> list[Quote]:
    """Return the sentences that may answer a question, best first; those without a term of it come last."""
    terms, counted = content_words(question), _counted(question)
    quotes = (_quote(sentence, terms, counted) for sentence in sentences)
    return heapq.nlargest(limit, quotes, key=lambda quote: (quote.counts, quote.confidence, -len(quote.text)))


def quote_nearby(terms: Sequence[str], passage: str, quote: str) -> Quote | None:
    """Return the sentence with most of the terms from the paragraph that a quote comes from; None without a term."""
    paragraphs = [" ".join(block.split()) for block in _PARAGRAPH.split(passage)]
    nearby = sentences(next((each for each in paragraphs if quote in each), ""))
    place = nearby.index(quote) if quote in nearby else 0
    shares = [coverage(shared_words(terms, sentence), terms) for sentence in nearby]
    best = max(range(len(nearby)), key=lambda i: (shares[i], -abs(i - place)), default=0)
    return Quote(nearby[best], shares[best]) if any(shares) else None


def _quote(sentence: str, terms: Sequence[str], counted: frozenset[str]) -> Quote:
    share = coverage(shared_words(terms, sentence), terms)
    if not counted:
        return Quote(sentence, share)
    if _counts(sentence, counted):
        return Quote(sentence, max(share, _LEAST_COUNTED), counts=True)
    return Quote(sentence, share / 2)


def _counted(question: str) -> frozenset[str]:
    """Return the stems of what a question wants counted: attention and head of "how many attention heads are there"."""
    found = _HOW_MANY.search(" ".join(words(question)))
    named = takewhile(lambda word: word not in STOP_WORDS, found[1].split()) if found else ()
    return frozenset(map(stem, named))


def _counts(sentence: str, counted: frozenset[str]) -> bool:
    """Return whether a number stands shortly before one of the words, or directly after it."""
    terms = words(_SECTION.sub("", sentence))
    numbers = [i for i, word in enumerate(terms) if word.isdecimal() or word in _NUMBERS]
    places = [i for i, word in enumerate(terms) if stem(word) in counted]
    return any(-2 <= place - number <= 6 and place != number for place in places for number in numbers)


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
