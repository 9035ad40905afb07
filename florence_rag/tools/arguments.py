"""The arguments of a tool: a pydantic model that is read from the signature of its `run` method, and their checks."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from florence_rag.errors import InputError
from florence_rag.json_values import parse_json
from florence_rag.text_arguments import clean_json
from florence_rag.tools.limits import check_arguments, check_filter_size
from florence_rag.types import KINDS, Kind
from florence_rag.validation import show

MAX_K = 20
_NOTHING = ("", "null", "none", "[]", "{}")
INDEX_FIELDS = ("kind", "source", "page", "start_s", "end_s")

CountArgument = Annotated[int, f"How many results, 1 to {MAX_K}."]
KindsArgument = Annotated[list[Kind] | None, "Only these kinds of results; omit for all."]
FilterArgument = Annotated[
    str | dict[str, Any] | None,
    'Only results that match, as JSON: {"city": "Rome", "year": {"$gte": 2020}}. Keys are those of files\' metadata, '
    f"and {', '.join(INDEX_FIELDS)}; a list means one of. Omit it unless you know the keys.",
]


def arguments_model(name: str, run: Callable[..., Any]) -> type[BaseModel]:
    """Build the model of a tool's arguments from a method whose hints are `Annotated[type, description]`.

    In a union, the type that JSON can carry stands first.
    """
    hints = get_type_hints(run, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(run).parameters.values():
        hint, description = get_args(hints[parameter.name])
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (_lenient(hint), Field(default, description=description))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the arguments, as a chat model receives it.

    Descriptions name the defaults, because the strict modes of providers refuse the keyword `default`.
    """
    schema = model.model_json_schema(schema_generator=_PlainSchema)
    properties = schema.get("properties", {})
    for each in properties.values():
        if default := each.pop("default", None):
            each["description"] += f" {default} by default."
    return {
        "type": "object",
        "properties": properties,
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


def parse_arguments(model: type[BaseModel], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, converted where the meaning is plain ("5" for 5, one string for a list of one).

    An optional argument that is null, empty or 0 is not given: in strict mode, a model fills all arguments.
    """
    names = list(model.model_fields)
    if len(args) > len(names):
        raise InputError(f"too many arguments; the arguments are {', '.join(names)}")
    values = {**dict(zip(names, args, strict=False)), **kwargs}
    check_arguments(values)
    optional = {name for name, field in model.model_fields.items() if not field.is_required()}
    stated = {name: _stated(value) if name in optional else value for name, value in values.items()}
    stated = clean_json({name: value for name, value in stated.items() if value is not None})
    try:
        parsed = model.model_validate(stated)
    except ValidationError as error:
        raise InputError(_first_problem(error, names, json_schema(model), stated)) from None
    return {name: getattr(parsed, name) for name in stated}


def unchecked_model(name: str, parameters: Mapping[str, Any], *, strict: bool = False) -> type[BaseModel]:
    """Build a pydantic model with the schema of a tool that passes values on unchanged; if strict, all are required.

    Both plug-ins give it to their framework: the tool itself checks the values and explains mistakes.
    """
    fields: dict[str, Any] = {}
    for field, schema in parameters["properties"].items():
        about: dict[str, Any] = {"description": schema["description"]}
        if field not in parameters["required"] and not strict:
            about["default_factory"] = lambda: None  # a default would become a keyword of the schema
        fields[field] = (Annotated[Any, WithJsonSchema(schema)], Field(**about))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def check_k(k: int) -> int:
    """Return k; raise InputError if it is out of range."""
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {show(k)}; it must lie between 1 and {MAX_K}")
    return k


def check_kinds(kinds: Collection[Kind] | None) -> set[Kind] | None:
    """Return the kinds, or None for all; raise InputError for an unknown kind."""
    if unknown := sorted(set(kinds or ()) - set(KINDS)):
        raise InputError(f"unknown kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}")
    return set(kinds) if kinds else None


def check_filter(filter: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the filter as the index takes it; raise InputError if it is not a JSON object.

    An expression in the language of the store is never accepted from an agent, because it could express anything.
    """
    if filter is None or (isinstance(filter, str) and not filter.strip()):
        return None
    try:
        parsed = parse_json(filter) if isinstance(filter, str) else filter
    except InputError:
        parsed = None
    if not isinstance(parsed, Mapping):
        raise InputError(
            f'filter {show(filter)} is not a JSON object; write one such as {{"city": "Rome"}}, or omit it'
        )
    check_filter_size(parsed)
    return dict(parsed) or None


def _stated(value: Any) -> Any:
    """Return the value of an optional argument without empty parts; None if nothing is left."""
    if isinstance(value, str):
        return None if value.strip().lower() in _NOTHING else value
    if isinstance(value, list | tuple):
        return [each for each in value if _stated(each) is not None] or None
    return value or None


def _first_problem(
    error: ValidationError, names: list[str], schema: Mapping[str, Any], stated: Mapping[str, Any]
) -> str:
    problem = error.errors(include_url=False)[0]
    field = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"missing a required argument: {field!r}; the arguments are {', '.join(names)}"
    if problem["type"] == "extra_forbidden":
        return f"got an unexpected keyword argument {field!r}; the arguments are {', '.join(names)}"
    return f"{field} must be of type {schema['properties'][field]['type']}, got {show(stated[field])}"


def _lenient(hint: Any) -> Any:
    """Accept one string for a list of strings; refuse what pydantic would convert but no model means."""
    types = (hint, *get_args(hint))
    if any(get_origin(each) is list for each in types):  # the tool itself checks the strings, and names those it knows
        schema = TypeAdapter(hint).json_schema(schema_generator=_PlainSchema)
        return Annotated[
            list[str] | None,
            BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
            WithJsonSchema(schema),
        ]
    if int in types:
        return Annotated[hint, BeforeValidator(partial(_refuse, bool))]
    return hint if bytes in types else Annotated[hint, BeforeValidator(partial(_refuse, bytes))]


def _refuse(type_: type, value: Any) -> Any:
    if isinstance(value, type_):
        raise ValueError(f"{type_.__name__} is not allowed")
    return value


class _PlainSchema(GenerateJsonSchema):
    """Describe a union by its first member, without titles: small models follow plain schemas better."""

    def union_schema(self, schema: core_schema.UnionSchema) -> JsonSchemaValue:
        first = schema["choices"][0]
        return self.generate_inner(first[0] if isinstance(first, tuple) else first)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
