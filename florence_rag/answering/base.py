"""What both ways to answer share: the search protocol, evidence, and checks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from florence_rag.context import LazyValue
from florence_rag.errors import InputError, MediaError
from florence_rag.index.base import Filter
from florence_rag.perception.base import Matcher
from florence_rag.types import Citation, Frame, Hit, Kind, middle_index

log = logging.getLogger(__name__)

LoadFrames = Callable[[Hit], tuple[Frame, ...]]
"""Reads the frames of a hit again; () for a passage. Raises MediaError if the file is gone or damaged."""


class Search(Protocol):
    """Finds chunks, as `retrieval.Retriever` does."""

    def search(
        self,
        text: str | None = None,
        image: Frame | None = None,
        k: int = 5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        group: bool = True,
    ) -> list[Hit]:
        """Return the k best hits, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answer of one hit to a question.

    Attributes:
        hit: The hit.
        answer: The answer.
        confidence: Its confidence, in [0, 1].
        quote: The text that the answer relies on; "" if a model examined the image.
        cached_from: One line about the cached answer that is repeated; "" if there is none.
    """

    hit: Hit
    answer: str
    confidence: float
    quote: str = ""
    cached_from: str = ""

    def to_citation(self) -> Citation:
        """Return the citation of the evidence."""
        confidence = round(self.confidence, 4)
        return Citation.of(self.hit, quote=self.quote, confidence=confidence, cached_from=self.cached_from)


def frames_or_skip(load_frames: LoadFrames, hit: Hit) -> tuple[Frame, ...]:
    """Return the frames of a hit; log a warning and return () if they cannot be read."""
    try:
        return load_frames(hit)
    except MediaError as error:
        log.warning("an answer is based on fewer images: %s", error)
        return ()


def best_index(frames: Sequence[Frame], question: str, matcher: LazyValue[Matcher] | None) -> int:
    """Return the position of the frame that fits a question best, or of the middle frame without a matcher."""
    if matcher is None or len(frames) == 1:
        return middle_index(frames)
    return int(matcher.get().match(frames, [question] * len(frames)).argmax())


def check_question(question: str) -> str:
    """Return the stripped question; raise InputError if it is empty."""
    if not question.strip():
        raise InputError(f"the question must not be empty, got {question!r}")
    return question.strip()
