"""When a text contains a word or a phrase: the one rule that search and quoting share.

Case, punctuation, line breaks and full-width forms do not count: "J.P. Morgan" is in "j.p.morgan" and in "JPMorgan".
A word is a run of letters and digits; a run of a script that is written without spaces counts as its pairs of
characters, as most search engines read it. Two words are the same if they differ by a common English ending only.
"""

from __future__ import annotations

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
"""English words that say nothing of what is sought. Other languages lose nothing but a little weight."""


def fold(text: str) -> str:
    """The form in which texts are compared."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    runs = _RUN.findall(fold(text))
    parts = (("".join(part), wide) for run in runs for wide, part in itertools.groupby(run, _is_wide))
    return [word for part, wide in parts for word in (_pairs(part) if wide else (part,))]


def content_words(text: str) -> tuple[str, ...]:
    """The different words that say what is sought: without stop words, unless nothing else is left."""
    different = tuple(dict.fromkeys(words(text)))
    return tuple(word for word in different if word not in STOP_WORDS) or different


def shared_words(wanted: Collection[str], text: str) -> tuple[str, ...]:
    """Which of the wanted words the text contains, in the order wanted."""
    present = {stem(word) for word in words(text)}
    return tuple(word for word in wanted if stem(word) in present)


def coverage(found: Collection[str], wanted: Collection[str]) -> float:
    """How much of the wanted words was found, in [0, 1). Half a word more is wanted than there are, because the one
    word of a short query proves less than all the words of a long one."""
    return len(found) / (len(wanted) + 0.5)


def stem(word: str) -> str:
    """The word without a common English ending: parked, parks and parking are one word."""
    return _ENDING.sub("", word)


def phrase_pattern(phrase: str) -> re.Pattern[str] | None:
    """Finds the whole phrase in a folded text, as whole words; stop words at its ends may be missing.

    None for a phrase without letters and digits.
    """
    letters = "".join(_without_outer_stop_words(_RUN.findall(fold(phrase))))
    if not letters:
        return None
    start = "" if _is_wide(letters[0]) else r"(?<![^\W_])"
    end = "" if _is_wide(letters[-1]) else r"(?![^\W_])"
    return re.compile(start + _GAP.join(map(re.escape, letters)) + end)


def _without_outer_stop_words(runs: list[str]) -> list[str]:
    kept = [i for i, run in enumerate(runs) if run not in STOP_WORDS]
    return runs[kept[0] : kept[-1] + 1] if kept else runs


def _is_wide(character: str) -> bool:
    """Whether the character belongs to a script that is written without spaces (Chinese, Japanese)."""
    return unicodedata.east_asian_width(character) == "W"


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]
