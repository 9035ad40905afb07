"""What a tool is: a name, a prompt, typed arguments, and a result with text, data and references to images."""

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel

from florence_rag.answering.base import split_by_match
from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.index.rows import MAX_ID_BYTES, id_bytes
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.arguments import arguments_model, json_schema, parse_arguments
from florence_rag.tools.formatting import MATERIAL, counted, hits_to_text
from florence_rag.types import Frame, Hit, middle_index
from florence_rag.untrusted_text import one_line, quoted_id, unquoted_ids
from florence_rag.validation import validate_arguments
from florence_rag.viz.thumbnails import FrameProvider, from_data_uri

MAX_ERROR = 500


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A reference to one image of a tool result: it survives JSON, and the image is loaded only to be shown.

    Attributes:
        number: The number of the result in the text, from 1.
        id: The id of its chunk; "" if the image is not in the index.
        keyframe: The position of the frame within the chunk; None for the middle one.
        data: A JPEG as a data URI, if the image is not in the index and could not be found again.
    """

    number: int
    id: str
    keyframe: int | None = None
    data: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that have a value, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    def load(self, provider: FrameProvider) -> tuple[Hit | None, Frame] | None:
        """Return the hit, if the image is in the index, and its pixels; None if the chunk or its file is gone."""
        if self.data:
            return None, read_image(from_data_uri(self.data))
        try:
            hit = next(iter(provider.get([self.id])), None)
            frames = provider.frames(hit) if hit else ()
        except InputError:
            return None
        if not frames:
            return None
        position = middle_index(frames) if self.keyframe is None else min(self.keyframe, len(frames) - 1)
        return hit, frames[position]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returns.

    Attributes:
        text: The answer for the model.
        artifact: The same for the program, ready for JSON.
        is_error: Whether `text` says what to change in the call.
        images: The images that `text` refers to, for models that accept images.
    """

    text: str
    artifact: dict[str, Any]
    is_error: bool = False
    images: tuple[ImageRef, ...] = ()

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of_hits(cls, heading: str, hits: Sequence[Hit]) -> "ToolResult":
        """Return the hits as a numbered list under a heading, and as dictionaries in the artifact."""
        text = f"{heading}\n{hits_to_text(hits)}" if hits else heading
        return cls(text, {"hits": [hit.to_dict() for hit in hits]}, images=images_of(hits))


def images_of(hits: Sequence[Hit]) -> tuple[ImageRef, ...]:
    """Return one reference per hit that has an image, numbered by its position among the hits."""
    return tuple(ImageRef(number, hit.id) for number, hit in enumerate(hits, start=1) if hit.kind != "text")


@dataclass(frozen=True)
class Tool(ABC):
    """A function that an agent may call, bound to no framework.

    Subclasses define `name`, `prompt` and a method `run`, whose hints, `Annotated[type, description]`, are the schema
    that a model receives. Programs may call `run`, which raises InputError. Agents call the tool itself, which answers
    a wrong call with a text that says what to change. Errors that no other call could avoid (an unreachable store, a
    missing model) are raised by both.

    Attributes:
        name: The name that a model calls.
        prompt: When to call the tool, and how to read its answer.
        roles: The tool needs a model in one of these roles of `Models`; () if it needs none.
        run: The work: typed arguments in, a `ToolResult` out.
        rag: The index that the tool works on.
    """

    name: ClassVar[str]
    prompt: ClassVar[str]
    roles: ClassVar[tuple[str, ...]] = ()
    run: ClassVar[Callable[..., ToolResult]]

    rag: FlorenceRAG

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "run" in vars(cls):
            cls.run = validate_arguments(cls.run)

    @classmethod
    def is_available(cls, rag: FlorenceRAG) -> bool:
        """Return whether the index has a model that the tool needs."""
        return not cls.roles or any(getattr(rag.models, role) for role in cls.roles)

    @property
    def description(self) -> str:
        """The prompt for the models and settings of this index."""
        return self.prompt + MATERIAL

    def __call__(self, /, *args: Any, **kwargs: Any) -> ToolResult:
        """Check the arguments and run; an InputError becomes an answer with `is_error`."""
        try:
            result = self.run(**parse_arguments(self._arguments, args, kwargs))
        except InputError as error:
            reason = one_line(str(error), MAX_ERROR)
            return ToolResult(f"{self.name} failed: {reason}", {"error": str(error)}, is_error=True)
        if not result.images:
            return result
        return replace(result, artifact={**result.artifact, "images": [image.to_dict() for image in result.images]})

    def _relevant(self, text: str, hits: Sequence[Hit], nothing: str) -> tuple[list[Hit], str]:
        """Return the hits that are relevant to a text, and what to say if none is: `nothing`, or what the best has."""
        least = self.rag.retriever.min_relevance
        relevant, others = split_by_match(hits, text, least, self.rag.models.matcher, self.rag.context.images.frames)
        if not others:
            return relevant, nothing
        best = max(others, key=lambda hit: hit.relevance or 0.0)
        of_best = f"the best, id {quoted_id(best.id)}, has the relevance {best.relevance:.2f}"
        return relevant, f"{counted(others, 'result')} below the relevance {least:.2f}: {of_best}."

    def _chunk(self, id: str) -> Hit | None:
        """Return the chunk with an id as the results list it, in quotation marks or not; None if there is none."""
        ids = [each for each in unquoted_ids(id) if id_bytes(each) <= MAX_ID_BYTES]
        return next(iter(self.rag.get(ids)), None)

    def _as_stored(self, ids: Sequence[str]) -> list[str]:
        """Return ids of chunks as the index spells them, and other texts as they are."""
        found = (self._chunk(id) if len(unquoted_ids(id)) > 1 else None for id in ids)
        return [chunk.id if chunk else id for chunk, id in zip(found, ids, strict=True)]

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return json_schema(self._arguments)

    @cached_property
    def _arguments(self) -> type[BaseModel]:
        return arguments_model(self.name, self.run)
