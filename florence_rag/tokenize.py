"""Splits texts into words and compares them, by the same rules for search, for evidence and for quotes.

Case, accents, punctuation and the width of characters do not matter: "strasse" is in "Straße", "istanbul" in "İstanbul"
and "J.P. Morgan" in "JPMorgan". The marks that spell a word do: the vowel signs of Hindi and the tones of Thai are
parts of it, while the points of Hebrew and Arabic are accents. A word is a run of letters, marks and digits, or an
emoji. A run of a script without spaces is split into pairs of characters, as in most search engines, or of syllables
where characters share one. Words with the same stem match. The stemmer is our own: as docs/log.md describes,
Snowball's is slower and does not match "bus" with "buses".
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import regex
from anyascii import anyascii

LETTERS = r"[[\p{L}\p{M}\p{N}]--[\u02bb\u02bc]]"
"""What words consist of, for `regex.V1`. The two letters that look like apostrophes separate words as those do."""
_WIDE = r"[\p{ea=W}&&[\p{L}\p{N}]]"
_SYLLABIC = r"[\p{lb=SA}&&\p{L}]"  # Thai, Lao, Khmer, Burmese and their neighbors
PLAIN = rf"[{LETTERS}--{_WIDE}--{_SYLLABIC}]"
"""Letters of scripts with spaces."""
SYLLABLE_REST = (
    r"(?:\p{InSC=Invisible_Stacker}\p{L}|\p{M}|[\u1000-\u1021]\u1037?\u103a|[\u0e30\u0e32\u0e45\u0eb0\u0eb2\u0ebd])"
)
"""What belongs to the consonant before it: stacked letters, marks, Burmese finals, Thai and Lao vowels."""
_EMOJI = r"[\p{Extended_Pictographic}--[\u00a9-\u21ff]]|\p{RI}\p{RI}"
_WORD = regex.compile(
    rf"(?P<plain>{PLAIN}+|{_EMOJI})|(?P<wide>(?:{_WIDE}\p{{M}}*)+)"
    rf"|(?P<syllabic>(?:\p{{LOE}}*{_SYLLABIC}{SYLLABLE_REST}*)+)",
    regex.V1,
)
_CLUSTER = regex.compile(rf"{_WIDE}\p{{M}}*|\p{{LOE}}*{_SYLLABIC}{SYLLABLE_REST}*", regex.V1)
_ASCII_WORD = re.compile(r"[a-zA-Z0-9]+")
_INVISIBLE = regex.compile(r"[\p{DI}\u0640]+")  # soft hyphens, joiners, directions; the Arabic tatweel
_ACCENT = regex.compile(
    r"[[[\p{Zinh}\p{Cyrillic}\p{Hebrew}\p{Arabic}\p{Syriac}]&&\p{M}]\u093c--[\u3099\u309a]]", regex.V1
)
_VARIANTS = (
    # The Russian short i stays: with its breve it is a letter, which tells words apart.
    dict(zip("ٱىیکةёѐѝ", "اييكهееи", strict=True))
    # Two ways to write a consonant without a vowel.
    | dict(zip("ൺൻർൽൾൿৎ", ("ണ്", "ന്", "ര്", "ല്", "ള്", "ക്", "ত্"), strict=True))
)
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ing|ed|es|s|e)$")

STOP_WORDS = frozenset(
    """a about an and any are as at be by can could did do does for from had has have how i in into is it its many me
    much my of on or our please show so some tell than that the their them then there these they this those to us was
    we were what when where which who whom whose why will with would you your""".split()
)
"""English words without content. In other languages, their equivalents count as content words."""


class Word(NamedTuple):
    """A word of a text, or a pair of characters of a script without spaces.

    Attributes:
        term: The form in which words are compared: without case, width and accents.
        spelling: The form in which spellings are compared: without case and width.
        text: The word as it is written.
    """

    term: str
    spelling: str
    text: str


class Run(NamedTuple):
    """A run of letters in a text: one word, or the clusters of a script without spaces.

    Attributes:
        text: The run as it is written.
        start: Its position in the normalized text.
        script: "plain" for scripts with spaces, "wide" for East Asian ones, "syllabic" for Southeast Asian ones.
    """

    text: str
    start: int
    script: str

    def clusters(self) -> list[str]:
        """Return the characters with their marks, or the syllables."""
        return [self.text] if self.script == "plain" else _CLUSTER.findall(self.text)


def normalize(text: str) -> str:
    """Return the text with composed characters of one width, and without invisible ones."""
    return text if text.isascii() else unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


def fold(text: str) -> str:
    """Return the form in which texts are compared: without case and accents."""
    return normalize(text).translate(_BASE_LETTERS)


def runs(normalized: str) -> Iterator[Run]:
    """Yield the runs of letters in a normalized text, in order."""
    for found in _WORD.finditer(normalized):
        yield Run(found[0], found.start(), found.lastgroup or "")


def split_words(text: str) -> Iterator[Word]:
    """Yield the words of a text, in order."""
    if text.isascii():
        for word in _ASCII_WORD.findall(text):
            yield Word(lower := word.lower(), lower, word)
        return
    for run in runs(normalize(text)):
        clusters = run.clusters()
        for pair in pairwise(clusters) if len(clusters) > 1 else [clusters]:
            yield _word("".join(pair))


def unspaced_characters(text: str) -> list[str]:
    """Return the terms of the single characters, or syllables, of scripts without spaces, in order."""
    return [] if text.isascii() else [_word(cluster).term for cluster in _CLUSTER.findall(normalize(text))]


def words(text: str) -> list[str]:
    """Return the terms of the words of a text, in order."""
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else [word.term for word in split_words(text)]


def content(text: str) -> tuple[Word, ...]:
    """Return the distinct words of a text without stop words; with them if there are no others."""
    different = {word.term: word for word in split_words(text)}
    return tuple(word for word in different.values() if word.spelling not in STOP_WORDS) or tuple(different.values())


def content_words(text: str) -> tuple[str, ...]:
    """Return the terms of the distinct words of a text without stop words; with them if there are no others."""
    return tuple(word.term for word in content(text))


def shared_words(wanted: Collection[str], text: str) -> tuple[str, ...]:
    """Return the wanted terms that a text contains, in their order."""
    present = {stem(word) for word in words(text)}
    return tuple(word for word in wanted if stem(word) in present)


def coverage(found: Collection[object], wanted: Collection[object]) -> float:
    """Return the share of the wanted words that were found, in [0, 1).

    The denominator has half a word more, because the only word of a short query proves less than all of a long one.
    """
    return len(found) / (len(wanted) + 0.5)


def shorten(text: str, length: int) -> str:
    """Return the text, cut between two characters that a reader sees if it is longer, and then ended by "…"."""
    if len(text) <= length:
        return text
    *_, last = regex.finditer(r"\X", text[: length + 1])
    return f"{text[: last.start() or length]}…"


def stem(word: str) -> str:
    """Return a word without a common English ending: parked, parks and parking have the stem park."""
    return _ENDING.sub("", word) if word[-1:] in "gdse" else word


@lru_cache(maxsize=2**14)
def _word(text: str) -> Word:
    spelling = unicodedata.normalize("NFC", text.lower())
    return Word(text.translate(_BASE_LETTERS) or spelling, spelling, text)


class _BaseLetters(dict[int, str]):
    """Maps characters to their form without case and accents, which is computed once for each."""

    def __missing__(self, code: int) -> str:
        self[code] = base = "".join(map(_base, chr(code).casefold())).casefold()
        return base


_BASE_LETTERS = _BaseLetters()


def _base(character: str) -> str:
    """Return a small letter without its accents: ASCII for Latin letters and all digits, nothing for an accent."""
    if variant := _VARIANTS.get(character):
        return variant
    if _ACCENT.match(character):
        return ""
    if regex.match(r"[[\p{Greek}\p{Arabic}]--\p{Nd}]", character, regex.V1):
        return unicodedata.normalize("NFD", character)[0]
    ascii: str = anyascii(character) if regex.match(r"[\p{Latin}\p{Nd}]", character) else ""
    return ascii if ascii.isalnum() else character
