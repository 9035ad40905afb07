"""Truncates or refuses texts that are longer than a model can read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from florence_rag.errors import InputError

TooLong = Literal["cut", "refuse"]

log = logging.getLogger(__name__)


class TextLimit:
    """Checks texts against the limit of a tokenizer, and logs the first one that is truncated.

    `limit` is in tokens, start and end markers included; `count` returns the tokens of a text that is not truncated.
    """

    def __init__(self, name: str, limit: int, count: Callable[[str], int], too_long: TooLong = "cut") -> None:
        if too_long not in ("cut", "refuse"):
            raise InputError(f"too_long is {too_long!r}; allowed are 'cut' and 'refuse'")
        self.limit = limit
        self._name = name
        self._count = count
        self._too_long = too_long
        self._warned = False

    def check(self, texts: Sequence[str]) -> None:
        """Check the longest text. A token has at least one byte, so that most texts need not be counted."""
        longest = max(texts, key=len, default="")
        if (self._warned and self._too_long == "cut") or len(longest.encode("utf-8", "replace")) + 2 <= self.limit:
            return
        if (tokens := self._count(longest)) <= self.limit:
            return
        if self._too_long == "refuse":
            raise InputError(
                f"{self._name} reads {self.limit} tokens of a text, and {longest[:40]!r}... has {tokens}; shorten it, "
                "or let long texts be truncated with too_long='cut'"
            )
        self._warned = True
        message = "%s reads %d tokens of a text; the vector of a text with %d tokens ignores the rest of it"
        log.warning(message, self._name, self.limit, tokens)
