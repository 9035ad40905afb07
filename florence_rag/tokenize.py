"""Splits texts into words and finds words and phrases in them, by the same rules for search and for quotes.

Case, punctuation, line breaks and full-width forms do not matter: "J.P. Morgan" is in "j.p.morgan" and in "JPMorgan".
A word is a run of letters and digits. A run of a script without spaces is split into pairs of characters, as in most
search engines. Words with the same stem match. The stemmer is our own: as docs/log.md describes, Snowball's is slower
and does not match "bus" with "buses".
"""

import itertools
import re
import unicodedata
from collections.abc import Collection

_RUN = re.compile(r"[^\W_]+")
_GAP = r"[\W_]*"
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ing|ed|es|s|e)$")

STOP_WORDS = frozenset(
    """a about an and any are as at be by can could did do does for from had has have how i in into is it its many me
    much my of on or our please show so some tell than that the their them then there these they this those to us was
    we were what when where which who whom whose why will with would you your""".split()
)
"""English words without content. In other languages, their equivalents count as content words."""


def fold(text: str) -> str:
    """Return the form in which texts are compared."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    found: list[str] = []
    for run in _RUN.findall(fold(text)):
        for wide, characters in itertools.groupby(run, _is_wide):
            part = "".join(characters)
            found += [part[i : i + 2] for i in range(len(part) - 1)] or [part] if wide else [part]
    return found


def content_words(text: str) -> tuple[str, ...]:
    """Return the distinct words of a text without stop words; with them if there are no others."""
    different = tuple(dict.fromkeys(words(text)))
    return tuple(word for word in different if word not in STOP_WORDS) or different


def shared_words(wanted: Collection[str], text: str) -> tuple[str, ...]:
    """Return the wanted words that a text contains, in their order."""
    present = {stem(word) for word in words(text)}
    return tuple(word for word in wanted if stem(word) in present)


def coverage(found: Collection[str], wanted: Collection[str]) -> float:
    """Return the share of the wanted words that were found, in [0, 1).

    The denominator has half a word more, because the only word of a short query proves less than all of a long one.
    """
    return len(found) / (len(wanted) + 0.5)


def stem(word: str) -> str:
    """Return a word without a common English ending: parked, parks and parking have the stem park."""
    return _ENDING.sub("", word)


def phrase_pattern(phrase: str) -> re.Pattern[str] | None:
    """Return a pattern that finds a phrase as whole words in a folded text; None without letters and digits.

    Stop words at the ends of the phrase may be missing in the text.
    """
    runs = _RUN.findall(fold(phrase))
    content = [i for i, run in enumerate(runs) if run not in STOP_WORDS]
    letters = "".join(runs[content[0] : content[-1] + 1] if content else runs)
    if not letters:
        return None
    start = "" if _is_wide(letters[0]) else r"(?<![^\W_])"
    end = "" if _is_wide(letters[-1]) else r"(?![^\W_])"
    return re.compile(start + _GAP.join(map(re.escape, letters)) + end)


def _is_wide(character: str) -> bool:
    """Return whether a character belongs to a script without spaces (Chinese, Japanese)."""
    return unicodedata.east_asian_width(character) == "W"
