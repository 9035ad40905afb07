"""What a tool is: a name, a description that is a prompt, typed arguments, and a result with text and data."""

from __future__ import annotations

import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from florence_rag.errors import InputError
from florence_rag.tools.image_ref import Picture

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG

JSON_TYPES = {str: "string", int: "integer", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gives back.

    text: for the model. artifact: the same for the program, JSON-ready. is_error: text says what to change in the call.
    pictures: what text speaks of, for models that can see.
    """

    text: str
    artifact: dict[str, Any]
    is_error: bool = False
    pictures: tuple[Picture, ...] = ()

    def __str__(self) -> str:
        return self.text


class Tool(ABC):
    """A function that an agent may call, bound to no framework.

    Subclasses write `run`: its type hints and Annotated texts are the schema that a model sees. Programs may call
    `run`, which raises InputError; agents call the tool itself, which answers a bad call with a text that says what
    to change. Errors that no other call could avoid (a store that is gone, a missing model) are raised in both.
    """

    name: ClassVar[str]
    rag: FlorenceRAG
    """The index that it works on."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The prompt: when to call this tool and how to read its answer."""

    run: Callable[..., ToolResult]
    """The work: typed arguments in, ToolResult out."""

    def __call__(self, *args: Any, **kwargs: Any) -> ToolResult:
        """Check the arguments, run, and turn an InputError into an answer."""
        try:
            result: ToolResult = self.run(**self._checked(args, kwargs))
        except InputError as error:
            return ToolResult(text=f"{self.name} failed: {error}", artifact={"error": str(error)}, is_error=True)
        if not result.pictures:
            return result
        named = [picture.to_dict() for picture in result.pictures]
        return replace(result, artifact={**result.artifact, "pictures": named})

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        hints = get_type_hints(self.run, include_extras=True)
        arguments = inspect.signature(self.run).parameters.values()
        return {
            "type": "object",
            "properties": {argument.name: _property(hints[argument.name], argument.default) for argument in arguments},
            "required": [argument.name for argument in arguments if argument.default is argument.empty],
            "additionalProperties": False,
        }

    def _checked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, converted where a model's habit is plain; InputError where one cannot be used."""
        hints = get_type_hints(self.run)
        stated = {name: value for name, value in kwargs.items() if value is not None}
        try:
            given = inspect.signature(self.run).bind(*args, **stated).arguments
        except TypeError as error:
            raise InputError(f"{error}; the arguments are {', '.join(self.parameters['properties'])}") from None
        return {name: _accept(name, value, hints[name]) for name, value in given.items()}


def _property(hint: Any, default: Any) -> dict[str, Any]:
    """JSON schema of one argument from its hint, Annotated[type, description]."""
    kind, description = get_args(hint)
    schema = {**_json_schema(kind), "description": description}
    return schema if default is inspect.Parameter.empty or default is None else {**schema, "default": default}


def _json_schema(hint: Any) -> dict[str, Any]:
    """Of a union, the first member: what JSON can carry stands first, what only a program can pass after it."""
    members = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return _json_schema(members[0])
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(members)}
    if get_origin(hint) is list:
        return {"type": "array", "items": _json_schema(members[0])}
    return {"type": JSON_TYPES[hint]}


def _accept(name: str, value: Any, hint: Any) -> Any:
    """The value, or what it plainly means: "5" for 5, one word for a list of one."""
    schema = _json_schema(hint)
    match schema["type"], value:
        case "string", str():
            return value
        case "string", bytes() if bytes in get_args(hint):
            return value
        case "string", Mapping() if any(get_origin(member) is dict for member in get_args(hint)):
            return value
        case "integer", int() if not isinstance(value, bool):
            return value
        case "integer", str() if value.strip().isdecimal() and len(value) < 20:
            return int(value)
        case "integer", float() if value.is_integer():
            return int(value)
        case "boolean", bool():
            return value
        case "boolean", str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case "array", str():
            return [value]
        case "array", list() | tuple() | set() | frozenset() if all(isinstance(item, str) for item in value):
            return list(value)
    raise InputError(f"{name} must be of type {schema['type']}, got {value!r:.80}")
