"""Decides whether a text is a question, by a rule that a user can predict and meet.

    a sentence of two or more words is a question if it ends with a question mark, or begins with a question word

Greetings, prepositions and "tell me" may precede the question word. Exclamations and small talk ("how are you?") are no
questions. A question mark works in every language; `question_words.toml` has the question words of some.
"""

import tomllib
import unicodedata
from functools import cache
from pathlib import Path

import regex

from florence_rag.tokenize import words

_INVERTED = r"\A\W*\S+-(?:t-(?:il|elle|on)|ils?|elles?)\b"
"""A French verb before its subject, such as "porte-t-elle"."""
_SENTENCE_END = regex.compile(r"""(?<=[.?!…][\p{Pe}\p{Pf}"']?)\s+|(?<=[\p{SB=STerm}--[.?!]])|\n|(?=[¿¡])""", regex.V1)


def is_question(text: str) -> bool:
    """Return whether a sentence of a text is a question."""
    return any(map(_asks, _SENTENCE_END.split(text)))


def is_small_talk(text: str) -> bool:
    """Return whether a text is a greeting, thanks or the like, which no file answers."""
    *_, courtesies = _patterns()
    return bool(courtesies.fullmatch(" ".join(words(text))))


def _asks(sentence: str) -> bool:
    terms = words(sentence)
    plain, (begins, small_talk, anywhere, _) = " ".join(terms), _patterns()
    if len(terms) < 2 or small_talk.fullmatch(plain):
        return False
    if _has_question_mark(sentence):
        return True
    return not sentence.rstrip().endswith("!") and bool(begins.match(plain) or anywhere.search(sentence))


def _has_question_mark(sentence: str) -> bool:
    """Return whether a question mark of any script is the first character, or follows the last word."""
    after_words = regex.sub(r"(?s).*\w", "", sentence)
    return any("QUESTION MARK" in unicodedata.name(mark, "") for mark in sentence[:1] + after_words)


@cache
def _patterns() -> tuple[regex.Pattern[str], ...]:
    """Return what matches the beginning of a question, small talk, words that ask anywhere, and courtesies."""
    tables = tomllib.loads(Path(__file__).with_name("question_words.toml").read_text("utf-8"))
    asking, openers, small_talk, anywhere, courtesies = ("|".join(table.values()) for table in tables.values())
    opened = rf"(?:(?:{openers}) ){{0,6}}"
    polite = rf"(?:(?:{courtesies}|{small_talk}|{tables['openers']['politeness']})(?: |\Z)){{1,6}}"
    patterns = rf"{opened}(?:{asking})\b", rf"{opened}(?:{small_talk})", rf"{anywhere}|{_INVERTED}", polite
    return tuple(map(regex.compile, patterns))
