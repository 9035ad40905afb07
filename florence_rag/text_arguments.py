"""Checks the texts that callers pass, in one way for Python, the command line, agent tools and both plug-ins."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from florence_rag.errors import InputError
from florence_rag.validation import show

MAX_TEXT_BYTES = 65_535
"""The most bytes of one text, which is what a VARCHAR of every Milvus holds."""


def clean(text: str) -> str:
    """Return the text as valid Unicode; lone surrogates become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean_json(value: Any) -> Any:
    """Return a value of JSON whose texts are valid Unicode."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_json(each) for each in value]
    return {clean_json(key): clean_json(each) for key, each in value.items()} if isinstance(value, dict) else value


def expand_user(path: str) -> str:
    """Return a path with the home folder for "~" and "~user"; a name that only begins with "~" stays as it is."""
    try:
        return os.path.expanduser(path)
    except ValueError:  # a null byte, which no path has
        return path


def to_path(path: str | os.PathLike[str]) -> Path:
    """Return a path as `expand_user` does, where `Path.expanduser` raises a RuntimeError for unknown users."""
    return Path(expand_user(os.fspath(path)))


def check_text(value: object, name: str, advice: str = "") -> str:
    """Return a text argument as a plain string of valid Unicode. It may be empty only if there is no advice.

    Args:
        value: The argument.
        name: Its name in error messages.
        advice: What to give instead of an empty text; texts with advice are returned without spaces around them.

    Raises:
        InputError: If the value is not a string, is empty, or is longer than MAX_TEXT_BYTES.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} must be of type string, got {show(value)}")
    text = clean(value)
    if (size := len(text.encode())) > MAX_TEXT_BYTES:
        raise InputError(f"{name} {text[:40]!r}... has {size} bytes; allowed are {MAX_TEXT_BYTES}: shorten or split it")
    if not advice:
        return text
    if all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text):
        raise InputError(f"the {name} is empty; {advice}")
    return text.strip()


def check_texts(values: Iterable[object], name: str) -> list[str]:
    """Return a list of texts as `check_text` returns each; raise InputError for a single one."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"give a list of texts, not {values!r:.80}")
    return [check_text(value, name) for value in values]


def check_query_text(value: object) -> str:
    """Return the text of a query without spaces around it; raise InputError if it is not one, or is empty."""
    return check_text(value, "query", "describe what to find")


def check_question(value: object) -> str:
    """Return a question without spaces around it; raise InputError if it is not one, or is empty."""
    return check_text(value, "question", "ask something about the images or texts")
