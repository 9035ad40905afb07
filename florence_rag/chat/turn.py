"""One turn of a conversation: what was said, what was searched, what was found, and what was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from florence_rag.types import Answer, Citation, Hit, Kind
from florence_rag.validation import validate_arguments


@validate_arguments
@dataclass(frozen=True, slots=True)
class Turn:
    """A message and its answer.

    Attributes:
        question: The message.
        query: The same as a text that needs no conversation: it is what was searched or asked.
        answer: The answer; a number in square brackets, such as [2], cites a hit by its position, from 1.
        hits: The results of the turn, in the order of their numbers.
        images: The ids of the hits whose images the chat model received.
        image: The image that came with the message, as a data URI of a JPEG; "" if there was none.
        search_image: The image of an earlier message by which the turn searched, as for "more"; "" if there was none.
        similar_to: The id of the result by which the turn searched, as for "similar ones"; "" if it did not.
        kinds: The kinds of chunks to which the message restricts the search; () for all.
        source: The source to which the message restricts the search; "" for all.
        is_selection: Whether the hits were selected from those of an earlier turn, and not searched.
        error: Why there is no answer, in one line; "" if there is one.
    """

    question: str
    query: str
    answer: Answer
    hits: tuple[Hit, ...] = ()
    images: tuple[str, ...] = ()
    image: str = ""
    search_image: str = ""
    similar_to: str = ""
    kinds: tuple[Kind, ...] = ()
    source: str = ""
    is_selection: bool = False
    error: str = ""

    @property
    def query_image(self) -> str:
        """The image by which the turn searched, whenever it came; "" if there was none."""
        return self.image or self.search_image

    @property
    def citations(self) -> dict[int, Citation]:
        """The citations of the answer by their numbers, which are the positions of their hits from 1."""
        numbers = {hit.id: number for number, hit in enumerate(self.hits, start=1)}
        return {numbers[cited.id]: cited for cited in self.answer.citations if cited.id in numbers}

    def to_dict(self) -> dict[str, Any]:
        """Return the turn, ready for JSON, without what is empty."""
        row: dict[str, Any] = {
            "question": self.question,
            "query": self.query,
            "answer": self.answer.to_dict(),
            "hits": [hit.to_dict() for hit in self.hits],
        }
        optional = {
            "images": list(self.images),
            "image": self.image,
            "search_image": self.search_image,
            "similar_to": self.similar_to,
            "kinds": list(self.kinds),
            "source": self.source,
            "is_selection": self.is_selection,
            "error": self.error,
        }
        return row | {name: value for name, value in optional.items() if value}
