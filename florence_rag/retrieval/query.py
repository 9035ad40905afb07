"""What to search for: texts, images, regions and indexed chunks, each with a weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from florence_rag.chunking import ImageInput
from florence_rag.embedding.region_view import check_box
from florence_rag.errors import InputError
from florence_rag.text_arguments import check_query_text, check_text
from florence_rag.validation import validate_arguments

MAX_PARTS = 32
MIN_WEIGHT, MAX_WEIGHT = 0.001, 100.0


@validate_arguments
@dataclass(frozen=True, slots=True, eq=False)
class QueryPart:
    """One part of a query: a text, an image, an indexed chunk, or a region of one of these.

    Args:
        text: A description.
        image: A path, a data URI, bytes, pixels, or an open file.
        id: The id of an indexed chunk, whose stored vector is used. No hit is of the same source.
        box: The region of the image or chunk: left, top, right, bottom in [0, 1].
        weight: How much the part counts, from 0.001 to 100; hits are unlike a part of negative weight.

    Raises:
        InputError: If not exactly one of text, image and id is given, or a value is out of range.
    """

    text: str | None = None
    image: ImageInput | None = None
    id: str | None = None
    box: Sequence[float] | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.text, self.image, self.id)) != 1:
            raise InputError("a part of a query is one text, one image or one id: give exactly one of them")
        if self.box is not None and self.text is not None:
            raise InputError("a box is a part of an image: give the image, too")
        if not MIN_WEIGHT <= abs(self.weight) <= MAX_WEIGHT:  # false for NaN
            allowed = f"from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, or the negative of it"
            raise InputError(f"weight is {self.weight!r}; it must lie {allowed}")
        if self.text is not None:
            object.__setattr__(self, "text", check_query_text(self.text))
        if self.id is not None:
            object.__setattr__(self, "id", check_text(self.id, "id", "give that of a hit"))
        if self.box is not None:
            object.__setattr__(self, "box", check_box(self.box))


@validate_arguments
@dataclass(frozen=True, eq=False)
class Query:
    """What to search for, in one or several parts.

    A hit is like all parts of positive weight together, and unlike those of negative weight:

        rag.search(Query(["at night", QueryPart(image="street.jpg"), QueryPart("cars", weight=-1)]))

    Args:
        parts: Up to 32 parts, of which one has a positive weight; a plain text is a part of weight 1.

    Raises:
        InputError: If there are too many parts, or none has a positive weight.
    """

    parts: Sequence[QueryPart | str]

    def __post_init__(self) -> None:
        if len(self.parts) > MAX_PARTS:
            raise InputError(f"the query has {len(self.parts)} parts; allowed are {MAX_PARTS}: use fewer")
        if not self.parts:
            raise InputError("nothing to search for: give a text, an image, or both")
        parts = tuple(QueryPart(part) if isinstance(part, str) else part for part in self.parts)
        object.__setattr__(self, "parts", parts)
        if not self.positive:
            raise InputError("nothing to search for: all parts have negative weights, give one with a positive weight")

    @cached_property
    def positive(self) -> tuple[QueryPart, ...]:
        """The parts of positive weight."""
        return tuple(part for part in self.parts if isinstance(part, QueryPart) and part.weight > 0)

    @cached_property
    def negative(self) -> tuple[QueryPart, ...]:
        """The parts of negative weight."""
        return tuple(part for part in self.parts if isinstance(part, QueryPart) and part.weight < 0)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts of positive weight."""
        return tuple(part.text for part in self.positive if part.text)

    @property
    def text(self) -> str:
        """These texts in one, of which the words are searched; "" if there are none."""
        return " ".join(self.texts)

    @cached_property
    def unwanted_texts(self) -> dict[str, float]:
        """The texts of negative weight, with their weight against that of the heaviest part, in (0, 1]."""
        heaviest = max(part.weight for part in self.positive)
        return {part.text: min(-part.weight / heaviest, 1.0) for part in self.negative if part.text}

    @property
    def text_share(self) -> float:
        """The share of texts in the positive weights, in [0, 1]."""
        return sum(part.weight for part in self.positive if part.text) / sum(part.weight for part in self.positive)

    @property
    def is_text(self) -> bool:
        """Whether all parts are texts."""
        return all(isinstance(part, QueryPart) and part.text for part in self.parts)


def to_query(
    query: str | Query | None = None,
    image: ImageInput | None = None,
    box: Sequence[float] | None = None,
    parts: Sequence[QueryPart | str] = (),
) -> Query:
    """Return a text, an image or a region of it, and further parts as one query.

    Raises:
        InputError: If nothing is given, or a value is wrong.
    """
    if image is None and box is not None:
        raise InputError("a box is a part of an image: give the image, too")
    first = () if query is None else query.parts if isinstance(query, Query) else (query,)
    shown = () if image is None else (QueryPart(image=image, box=box),)
    return Query((*first, *shown, *parts))
