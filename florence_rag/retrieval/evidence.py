"""What the text of a hit proves: the words and the phrase of a query that it contains, as the text spells them.

Vectors and the terms of the index only find candidates. Evidence is read in the text itself, so that it is never false:
a word is a whole word. In scripts without spaces, ICU says by its dictionaries where words begin and end.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

import regex
from icu4py.breakers import WordBreaker

from florence_rag.tokenize import (
    LETTERS,
    PLAIN,
    STOP_WORDS,
    SYLLABLE_REST,
    Run,
    content,
    coverage,
    fold,
    normalize,
    runs,
    split_words,
    stem,
)

_GAP = rf"[^{LETTERS}]"
_HYPHEN = r"[-\u2010][^\S\n]*+\n\s*+"
_INITIAL = rf"(?<=(?<!{PLAIN}){PLAIN})"
_TIGHT = rf"(?:{_HYPHEN}|[{_GAP}--\s]+|{_INITIAL}\.\s+)"
"""What may divide one word in two: punctuation without spaces, as in "e-mail", or the period of an initial."""
_TIGHT_GAP = regex.compile(rf"{_TIGHT}?", regex.V1)
_LINE_BREAK = r"(?:[^\S\n]*\n[^\S\n]*)?"
_HANGUL = regex.compile(r"\p{Hangul}")
_BOUNDARIES = {
    "plain": (rf"(?<!{PLAIN})", rf"(?!{PLAIN})"),
    "wide": ("", r"(?!\p{M})"),
    "syllabic": (r"(?<![\p{LOE}\p{InSC=Invisible_Stacker}])", rf"(?!{SYLLABLE_REST})"),
}
_MARK = regex.compile(r"\p{M}")
_LONGEST_PHRASE = 500  # characters
_ASCII_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_SENTENCE_END = regex.compile(r"(?<=[.\p{SB=STerm}])\s+|(?<=[。！？｡])|\n\s*\n")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class TermMatch:
    """The words of a query that a text contains.

    Attributes:
        coverage: Their share.
        same_spelling: The share of those that the text spells as the query does.
        found: The words, as the text spells them.
        by_sentence: The numbers of the query's words that each sentence contains, of sentences that contain any.
    """

    coverage: float
    same_spelling: float
    found: Sequence[str]
    by_sentence: frozenset[frozenset[int]] = frozenset()


class QueryTerms:
    """The words of a query, to be found in texts."""

    def __init__(self, query: str) -> None:
        self._wanted = content(query)
        self._stems = [(stem(word.term), stem(word.spelling)) for word in self._wanted]
        self._number = {term: i for i, term in enumerate(dict.fromkeys(term for term, _ in self._stems))}
        found = list(runs(normalize(query)))
        self._plain = {run.text for run in found if run.script == "plain"}
        # Single characters of a longer run are mostly particles.
        self._unspaced = [
            Phrase(word)
            for run in found
            if run.script != "plain"
            for word in dict.fromkeys(_segments(run.text))
            if word == run.text or len(word) > 1
        ]

    def __len__(self) -> int:
        """Return the number of words with different stems, from which `TermMatch.by_sentence` counts."""
        return len(self._number)

    def match(self, text: str) -> TermMatch | None:
        """Return the words that a text contains, with any ending or accents; None if there are none."""
        by_term: dict[str, str] = {}
        by_spelling: dict[str, str] = {}
        by_sentence = set()
        for sentence in (_ASCII_SENTENCE_END if text.isascii() else _SENTENCE_END).split(text):
            numbers = set()
            for word in split_words(sentence):
                if (term := stem(word.term)) in self._number:
                    numbers.add(self._number[term])
                    by_term.setdefault(term, word.text)
                by_spelling.setdefault(term if word.spelling == word.term else stem(word.spelling), word.text)
            if numbers:
                by_sentence.add(frozenset(numbers))
        same = [by_spelling.get(spelling) for _, spelling in self._stems]
        found = [
            (word, spelled)
            for word, text, (term, _) in zip(self._wanted, same, self._stems, strict=True)
            if (spelled := text or by_term.get(term))
        ]
        if not found:
            return None
        plain = [spelled for word, spelled in found if word.text in self._plain]
        folded = FoldedText(text) if self._unspaced else None
        unspaced = filter(None, (word.find_in(folded) for word in self._unspaced if folded))
        same_spelling = sum(text is not None for text in same) / len(found)
        spellings = list(dict.fromkeys([*plain, *unspaced]))
        return TermMatch(coverage(found, self._wanted), same_spelling, spellings, frozenset(by_sentence))


class FoldedText:
    """A text in the forms in which many phrases are sought, which take long to compute."""

    def __init__(self, text: str) -> None:
        self.normalized = normalize(text)
        self.folded = fold(self.normalized)

    def original(self, start: int, end: int) -> str:
        """Return the part of the normalized text that folding maps to the characters from start to end."""
        if self.normalized.isascii():
            return self.normalized[start:end]
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        while first < last < len(self._starts) and self._starts[last] == end and _MARK.match(self.normalized[last]):
            last += 1
        return self.normalized[first:last]

    @cached_property
    def _starts(self) -> list[int]:
        """Where each character of the normalized text begins in the folded one."""
        lengths = (len(fold(character)) for character in self.normalized[:-1])
        return list(accumulate(lengths, initial=0))


class Phrase:
    """A phrase, to be found in texts as whole words in any case, with any accents and punctuation.

    Stop words at its ends may be missing. "J.P. Morgan" is found in "JPMorgan", and "email" in "e-mail", but "nowhere"
    is not found in "now here": spaces divide words.
    """

    def __init__(self, phrase: str) -> None:
        normalized = normalize(phrase)
        found = list(runs(normalized)) if len(normalized) <= _LONGEST_PHRASE else []
        content = [i for i, run in enumerate(found) if run.text.lower() not in STOP_WORDS]
        chosen = found[content[0] : content[-1] + 1] if content else found
        self._pattern = regex.compile(_pattern(normalized, chosen), regex.V1) if chosen else None
        self._segmented = [bool(chosen) and _is_segmented(chosen[end]) for end in (0, -1)]

    def find(self, text: str) -> str | None:
        """Return the phrase on one line as a text spells it, or None if the text does not contain it."""
        return self.find_in(FoldedText(text)) if text else None

    def find_in(self, text: FoldedText) -> str | None:
        """Return the phrase as `find` does."""
        for found in self._pattern.finditer(text.folded) if self._pattern else ():
            if self._is_whole(found.span(), text.folded):
                return " ".join(text.original(*found.span()).split())
        return None

    def _is_whole(self, span: tuple[int, int], folded: str) -> bool:
        """Return whether a match begins and ends with a word, where spaces do not tell."""
        ends = zip(span, self._segmented, strict=True)
        return all(edge in _word_edges(folded) for edge, segmented in ends if segmented)


def _is_segmented(run: Run) -> bool:
    """Return whether dictionaries divide a run; Korean words are divided by spaces, and end with particles."""
    return run.script != "plain" and not _HANGUL.search(run.text)


@lru_cache(maxsize=1)  # several words, each with several matches, are searched in one text
def _word_edges(text: str) -> frozenset[int]:
    return frozenset(accumulate(map(len, _segments(text)), initial=0))


def _segments(text: str) -> list[str]:
    """Return the words of a text, and what stands between them; the dictionaries do not depend on the language."""
    return list(WordBreaker(text.encode(errors="replace").decode(), "en"))


def _pattern(normalized: str, chosen: Sequence[Run]) -> str:
    """Return the pattern that finds these runs of a normalized text in a folded text."""
    pattern, end = _BOUNDARIES[chosen[0].script][0], chosen[0].start
    for run in chosen:
        if run.start > end:
            tight = _TIGHT_GAP.fullmatch(normalized, end, run.start)
            pattern += f"{_GAP}{{0,20}}" if tight else f"{_GAP}{{1,20}}"
        elif run is not chosen[0]:  # "東京2024"
            pattern += rf"(?:{_TIGHT}|[^\S\n]+)?"
        pattern += _inside(run)
        end = run.start + len(run.text)
    return pattern + _BOUNDARIES[chosen[-1].script][1]


def _inside(run: Run) -> str:
    """Return the pattern of one run, in which a text may have hyphens, or a line break between East Asian letters."""
    between = f"{_TIGHT}?" if run.script == "plain" else ""
    if run.script == "wide" and not _HANGUL.search(run.text):
        between = _LINE_BREAK
    return between.join(map(regex.escape, fold(run.text)))
