"""The limits of the arguments that an agent passes, so that no call can take an index out for the other callers.

They are checked before an argument is converted or copied, and once more after a filter is read from JSON. Programs
that call `Tool.run` have the limits of the functions below it.
"""

import math
from collections.abc import Iterable, Mapping, Sized
from typing import Any

from florence_rag.chunking.image_string import is_inline_image
from florence_rag.errors import InputError
from florence_rag.validation import show

MAX_CHARACTERS = 4_096
"""Of a question, a phrase, an id, a path, a URL, or a text in a filter."""
MAX_LABEL_CHARACTERS = 1_000
MAX_KEY_CHARACTERS = 256
"""Of a key in a filter."""
MAX_ITEMS = 100
"""Of a list, such as ids, labels, or the values of a filter."""
MAX_KEYS = 50
"""Of a mapping, such as the conditions of a filter."""
MAX_VALUES = 500
"""Of all arguments of a call together, keys included."""
MAX_DEPTH = 12
"""Of lists and mappings inside each other."""
MAX_FILTER_CHARACTERS = 65_536
"""Of a filter that is passed as the text of JSON."""
MAX_IMAGE_CHARACTERS = 30_000_000
"""Of an image as a data URI or base64, before it is decoded."""
MAX_BITS = 64
"""Of a whole number."""

_MAX_CHARACTERS: Mapping[str, int] = {"filter": MAX_FILTER_CHARACTERS, "image": MAX_IMAGE_CHARACTERS}


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise InputError if an argument of a tool is too large, whatever its type; the message names it."""
    check = _Check()
    check.check_length("the call", "arguments", arguments, MAX_KEYS)
    for name, value in arguments.items():
        check.check_length("an argument's name", "characters", name, MAX_KEY_CHARACTERS)
        if isinstance(value, str):
            check.check_length(name, "characters", value, _MAX_CHARACTERS.get(name, MAX_CHARACTERS))
            if name != "image" or is_inline_image(value):
                continue
        check.check(name, value, MAX_LABEL_CHARACTERS if name == "labels" else MAX_CHARACTERS)


def check_filter_size(filter: Any) -> None:
    """Raise InputError if a filter that was read from JSON is too large."""
    _Check().check("filter", filter)


class _Check:
    """The check of one call. It counts values, because a small structure can contain a part many times."""

    def __init__(self) -> None:
        self._values = 0

    def check(self, name: str, value: Any, max_characters: int = MAX_CHARACTERS, depth: int = 0) -> None:
        """Check a value and all inside it. name: the argument that messages name."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise InputError(f"{name} exceeds {MAX_VALUES} values, which is the most of one call; use fewer")
        if isinstance(value, str):
            self.check_length(name, "characters", value, max_characters)
        elif isinstance(value, int | float):
            _check_number(name, value)
        elif isinstance(value, Mapping):
            self.check_length(name, "keys", value, MAX_KEYS)
            self._check_all(name, value, MAX_KEY_CHARACTERS, depth)
            self._check_all(name, value.values(), max_characters, depth)
        elif isinstance(value, list | tuple | set | frozenset):
            self.check_length(name, "values", value, MAX_ITEMS)
            self._check_all(name, value, max_characters, depth)

    def _check_all(self, name: str, values: Iterable[Any], max_characters: int, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise InputError(f"{name} is nested deeper than {MAX_DEPTH} levels; write it with fewer")
        for each in values:
            self.check(name, each, max_characters, depth + 1)

    @staticmethod
    def check_length(name: str, parts: str, value: Sized, limit: int) -> None:
        """Check the number of parts of a value."""
        if len(value) > limit:
            where = f"{name} has {len(value):,} {parts}" + (f" in {show(value)}" if isinstance(value, str) else "")
            raise InputError(f"{where}; allowed are {limit:,}: use fewer")


def _check_number(name: str, value: float) -> None:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise InputError(f"{name} has {show(value)}; whole numbers have at most {MAX_BITS} bits")
    if not math.isfinite(value):
        raise InputError(f"{name} has the number {value}; numbers must be finite")
