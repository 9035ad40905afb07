"""What a tool is: a name, a description that is a prompt, typed arguments, and a result with text and data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel

from florence_rag.errors import InputError
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.arguments import arguments_model, json_schema, parse_arguments
from florence_rag.tools.image_ref import ImageRef


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


class Tool(ABC):
    """A function that an agent may call, bound to no framework.

    Subclasses implement `run`; its hints, `Annotated[type, description]`, are the schema that a model receives.
    Programs may call `run`, which raises InputError. Agents call the tool itself, which answers a wrong call with a
    text that says what to change. Errors that no other call could avoid (an unreachable store, a missing model) are
    raised by both.

    Attributes:
        name: The name that a model calls.
        rag: The index that the tool works on.
    """

    name: ClassVar[str]
    rag: FlorenceRAG

    run: Callable[..., ToolResult]
    """The work: typed arguments in, a `ToolResult` out."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The prompt: when to call this tool, and how to read its answer."""

    def __call__(self, *args: Any, **kwargs: Any) -> ToolResult:
        """Check the arguments and run; an InputError becomes an answer with `is_error`."""
        try:
            result = self.run(**parse_arguments(self._arguments, args, kwargs))
        except InputError as error:
            return ToolResult(text=f"{self.name} failed: {error}", artifact={"error": str(error)}, is_error=True)
        if not result.images:
            return result
        return replace(result, artifact={**result.artifact, "images": [image.to_dict() for image in result.images]})

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return json_schema(self._arguments)

    @cached_property
    def _arguments(self) -> type[BaseModel]:
        return arguments_model(self.name, self.run)
