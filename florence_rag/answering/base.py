"""What both ways to answer share: the search protocol, evidence, and checks."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from florence_rag.context import LazyValue
from florence_rag.errors import MediaError
from florence_rag.index.base import Filter
from florence_rag.perception.base import Matcher
from florence_rag.telemetry import get_logger
from florence_rag.types import Frame, Hit, Kind, middle_index

log = get_logger(__name__)

LoadFrames = Callable[[Hit], tuple[Frame, ...]]
"""Reads the frames of a hit again; () for a passage. Raises MediaError if the file is gone or damaged."""


class Search(Protocol):
    """Finds chunks, as `retrieval.Retriever` does."""

    def search(
        self, text: str, *, k: int, kinds: Collection[Kind] | None, filter: Filter | None, group: bool = True
    ) -> list[Hit]:
        """Return the k best hits, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answer of one hit to a question, with its confidence in [0, 1].

    The quote is the text that the answer relies on; it is "" if a model examined the image.
    """

    hit: Hit
    answer: str
    confidence: float
    quote: str = ""
    cached_from: str = ""


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
