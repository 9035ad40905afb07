"""Compares a claim with a passage, sentence by sentence and word by word.

A sentence supports a claim if it has all its words and numbers. It contradicts the claim if it has all its words, and
another number in the same place, a word that excludes one of the claim ("red" for "blue"), or a denial where the claim
has none. A sentence that says the same in other words is not recognized, so it leaves the claim open.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import regex

from florence_rag.answering.claims import COLORS, NUMBERS
from florence_rag.answering.judgment import Judgment
from florence_rag.tokenize import STOP_WORDS, coverage, stem, words

_DENIALS = frozenset("no not never none without nor neither cannot".split())
_EXCLUSIVE: tuple[frozenset[str], ...] = (
    COLORS - {"grey", "golden"},
    *(
        frozenset(group.split())
        for group in (
            "january february march april may june july august september october november december",
            "monday tuesday wednesday thursday friday saturday sunday",
            "north south east west",
            "left right",
            "before after",
            "above below",
            "more less fewer",
            "most least fewest",
            "first second third last",
            "increase decrease",
            "increased decreased",
            "rise fall",
            "rose fell",
            "open closed",
            "opened closed",
            "true false",
            "morning noon afternoon evening night",
            "higher lower",
            "larger smaller",
            "better worse",
            "man woman",
            "day week month year hour minute second",
            "million billion thousand hundred",
        )
    ),
)
_EXCLUDES = {stem(word): frozenset(map(stem, group - {word})) for group in _EXCLUSIVE for word in group}
_TOKEN = regex.compile(r"\d+(?:[.,]\d+)*|[\p{L}\p{M}]+")
_LEAST_WORDS = 2


def check_passage(claim: str, passage: Iterable["Sentence"]) -> Judgment | None:
    """Return what the sentences of a passage say about a claim; None if none of them speaks of it.

    A sentence that supports the claim outweighs those that contradict it.
    """
    stated = Sentence(claim)
    judged = ((_holds(stated, sentence), sentence.text) for sentence in passage)
    given = [(probability, quote) for probability, quote in judged if probability is not None]
    if not given:
        return None
    supporting = max(given)
    probability, quote = supporting if supporting[0] > 0.5 else min(given)
    return Judgment(probability, quote=quote)


@dataclass(frozen=True)
class Sentence:
    """A claim or a sentence of a passage, which is read once: its words in order, with numbers in one form."""

    text: str

    @cached_property
    def tokens(self) -> list[str]:
        """The words as they are compared, and the numbers."""
        text = regex.sub(r"(?i)\b(\w+)n['\u2019]t\b", r"\1 not", self.text)
        return [_number(token) or next(iter(words(token)), "") for token in _TOKEN.findall(text)]

    @cached_property
    def content(self) -> list[str]:
        """The stems of the words with content, and the numbers."""
        return [stem(token) for token in self.tokens if token and token not in STOP_WORDS and token not in _DENIALS]

    @cached_property
    def terms(self) -> dict[str, None]:
        """The stems without the numbers, in order."""
        return {token: None for token in self.content if not _is_number(token)}

    @cached_property
    def numbers(self) -> set[str]:
        """The numbers."""
        return set(filter(_is_number, self.content))

    @cached_property
    def denied(self) -> set[str]:
        """The first word with content after each denial."""
        found, following = set(), ""
        for token in reversed(self.tokens):
            if token in _DENIALS:
                found.add(following)
            elif token and token not in STOP_WORDS:
                following = stem(token)
        return found - {""}

    def beside(self, number: str) -> set[str]:
        """Return the words next to the places of a number."""
        places = [i for i, token in enumerate(self.content) if token == number]
        return {self.content[j] for i in places for j in (i - 1, i + 1) if 0 <= j < len(self.content)} - self.numbers

    def before(self, number: str) -> set[str]:
        """Return the words directly before the places of a number, such as "in" of a year."""
        return {word for word, token in pairwise(self.tokens) if token == number}


def _holds(claim: Sentence, sentence: Sentence) -> float | None:
    """Return the probability that a claim holds by a sentence, which is the share of the words; None if it is open."""
    if len(claim.content) < _LEAST_WORDS or not claim.terms:
        return None
    sure = coverage(claim.content, claim.content)
    missing = [term for term in claim.terms if term not in sentence.terms]
    lacking = claim.numbers - sentence.numbers
    is_denied = bool(claim.denied & {*claim.terms}) != bool(sentence.denied & {*claim.terms})
    if not missing and not lacking:
        return 1 - sure if is_denied else sure
    if is_denied or len(missing) + len(lacking) > 1:
        return None
    if lacking:
        return 1 - sure if _has_rival(claim, sentence, *lacking) else None
    group = _EXCLUDES.get(missing[0], frozenset()) - claim.terms.keys()
    return 1 - sure if group & sentence.terms.keys() else None


def _has_rival(claim: Sentence, sentence: Sentence, number: str) -> bool:
    """Return whether a sentence has another number in the same place: next to the same word, or "in 1985"."""
    others = sentence.numbers - claim.numbers
    if any(claim.beside(number) & sentence.beside(other) for other in others):
        return True
    before = claim.before(number)
    return any(len(other) == len(number) and before & sentence.before(other) for other in others)


def _number(token: str) -> str:
    """Return a number in the form in which numbers are compared: 1000 for 1,000, 3 for three; "" for other words."""
    if token[0].isdecimal():
        plain = token.replace(",", "") if regex.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", token) else token
        return "".join(str(int(digit)) if digit.isdecimal() else "." for digit in plain).rstrip(".")
    number = NUMBERS.get(token.casefold())
    return "" if number is None else str(number)


def _is_number(token: str) -> bool:
    return token[:1].isdecimal()
