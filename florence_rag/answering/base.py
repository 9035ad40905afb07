"""What both ways to answer share: the search protocol, evidence, relevance, and checks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from florence_rag.context import LazyValue
from florence_rag.errors import MediaError
from florence_rag.image_store import LoadFrames
from florence_rag.index.base import Filter
from florence_rag.perception.base import Matcher
from florence_rag.retrieval.image_match import match_images
from florence_rag.telemetry import get_logger
from florence_rag.types import Answer, Citation, Frame, Hit, Kind, middle_index

log = get_logger(__name__)

NOT_A_QUESTION = "This is not a question."
_MAX_CONSIDERED = 3
_MIN_TERM_SHARE = 0.2
"""The share of the query's terms with which a hit may answer, whatever its relevance."""


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

    The quote is the text that the answer relies on; it is "" if a model examined the image. If the model states no
    confidence, that of the evidence only orders it, and is not shown.
    """

    hit: Hit
    answer: str
    confidence: float
    quote: str = ""
    cached_from: str = ""
    is_stated: bool = True

    @property
    def stated_confidence(self) -> float | None:
        """The confidence for users; None if the model states none."""
        return round(self.confidence, 4) if self.is_stated else None


def split_by_match(
    hits: Sequence[Hit], text: str, least: float, matcher: LazyValue[Matcher] | None, load_frames: LoadFrames
) -> tuple[list[Hit], list[Hit]]:
    """Do the same as `split_by_relevance`, after `match_images`; without a threshold no image is matched."""
    return split_by_relevance(match_images(hits, text, matcher, load_frames) if least else hits, least)


def split_by_relevance(hits: Sequence[Hit], least: float) -> tuple[list[Hit], list[Hit]]:
    """Return the hits whose relevance is at least this or not known, and the others, in their order.

    A hit that has a part of the query's terms is kept, too, because it may answer in other words.
    """
    parts: tuple[list[Hit], list[Hit]] = ([], [])
    for hit in hits:
        is_low = hit.relevance is not None and hit.relevance < least
        parts[is_low and (hit.term_share or 0.0) < _MIN_TERM_SHARE].append(hit)
    return parts


def not_found(hits: Sequence[Hit], least: float) -> Answer:
    """Return an answer that names the best of these hits, whose relevance is less than the least."""
    best = sorted(hits, key=lambda hit: -(hit.relevance or 0.0))[:_MAX_CONSIDERED]
    text = "Nothing was found: no chunk of the index matches."
    if best:
        counted = f"the best of {len(hits)} hits has" if len(hits) > 1 else "the only hit has"
        text = f"Nothing relevant was found: {counted} the relevance {best[0].relevance:.2f}, below {least:.2f}."
    return Answer(text, None, status="not_found", considered=tuple(map(Citation.of, best)))


def frames_or_skip(load_frames: LoadFrames, hit: Hit) -> Sequence[Frame]:
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
