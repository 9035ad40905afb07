"""Checks the arguments of public functions against their type hints: a wrong type is an error that names the argument.

The checks mean what the hints mean to a person: numbers of numpy are numbers, a path is a text or a path object, and
lists, tuples and arrays are alike; but a bool is no number, and a text is no list of texts. Only types are checked
here: the functions themselves check values, and each item of an `Iterable`, of which some may be wrong.
"""

import inspect
import os
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import cache, partial, wraps
from itertools import chain
from numbers import Integral, Real
from typing import IO, Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from florence_rag.errors import InputError

T = TypeVar("T")
Check = Callable[[Any], bool]

_MAX_BITS = 1_000  # of a whole number, which floats hold
_TEXTS = (str, bytes, bytearray)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def validate_arguments(target: T) -> T:
    """Decorate a function, or the constructor and the public methods of a class, so that it checks its arguments.

    Raises:
        InputError: When it is called with an argument that does not fit its type hint.
    """
    if not isinstance(target, type):
        return typing.cast("T", _validated(typing.cast("Callable[..., Any]", target)))
    members = dict(vars(target))
    if hasattr(target, "model_fields"):  # of pydantic, which also writes functions of its own into the class
        members = {name: each for name, each in members.items() if getattr(each, "__module__", "") == target.__module__}
        members["__init__"] = target.__init__  # type: ignore[misc]
    for name, member in members.items():
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, types.FunctionType):
            setattr(target, name, _validated(member))
        elif isinstance(member, classmethod | staticmethod):
            setattr(target, name, type(member)(_validated(member.__func__)))
    return target


def check_type(value: object, hint: Any, name: str) -> None:
    """Raise InputError if a value does not fit a type hint; name: what the message calls the value."""
    if not _check(hint)(value):
        name, value, hint = _innermost(value, hint, name)
        raise InputError(f"{name} must be {_describe(hint)}, got {show(value)}")


def show(value: object) -> str:
    """Return how messages show any value: on one line, shortened, and never failing."""
    if isinstance(value, int) and value.bit_length() >= _MAX_BITS:
        return f"a number of {value.bit_length()} bits"
    value = value[:80] if isinstance(value, _TEXTS) else value
    try:
        return f"{' '.join(_SHORT.repr(value).split()):.80}"
    except Exception:  # of the value's own methods
        return f"an object of type {type(value).__name__}"


class _Parameter(NamedTuple):
    """What is known of a parameter: its hint, its test, and the types whose values need none."""

    hint: Any
    check: Check
    types: frozenset[type]


def _validated(function: Callable[..., T]) -> Callable[..., T]:
    parameters = inspect.signature(function).parameters.values()
    names = [each.name for each in parameters if each.kind <= each.POSITIONAL_OR_KEYWORD]
    rest = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), "")
    checks: dict[str, _Parameter] = {}  # filled at the first call, because hints may name what is defined later

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> T:
        if not checks:
            checks.update(_parameters(function))
        for name, value in chain(zip(names, args, strict=False), kwargs.items()):
            parameter = checks.get(name)
            if parameter and type(value) not in parameter.types and not parameter.check(value):
                check_type(value, parameter.hint, name)
        for value in args[len(names) :] if rest in checks else ():
            check_type(value, checks[rest].hint, rest)
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            if type(error).__name__ != "ValidationError":
                raise
            raise InputError(_from_pydantic(error)) from None

    return run


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, _Parameter]]:
    """Yield the parameters by name, also the keyword arguments that a TypedDict lists."""
    for name, hint in get_type_hints(function).items():
        if get_origin(hint) is typing.Unpack:
            yield from _parameters(get_args(hint)[0])
        elif name != "return":
            yield name, _Parameter(hint, _check(hint), frozenset(_exact_types(hint)))
    yield "", _Parameter(Any, _anything, frozenset())  # so that a function without hints is not asked again


def _exact_types(hint: Any) -> Iterator[type]:
    """Yield types whose values need no other check."""
    if get_origin(hint) in (Union, types.UnionType, Literal):
        for each in get_args(hint):
            yield from [type(each)] if get_origin(hint) is Literal else _exact_types(each)
    elif isinstance(hint, type) and get_origin(hint) is None and hint is not int:  # whose size is checked
        yield hint


@cache
def _check(hint: Any) -> Check:
    """Return the test of a type hint."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return partial(_any_of, tuple(map(_check, args)))
    if origin is Annotated:
        return _check(args[0])
    if origin is Literal:
        return partial(_is_instance, tuple({type(each) for each in args}))
    if origin in _TESTS:
        return _TESTS[origin]
    if not isinstance(origin, type):  # Any, Self, type variables
        return _anything
    if issubclass(origin, Mapping) or typing.is_typeddict(origin):
        if not args or args[-1] is Any:  # such as metadata, of which any key becomes a text
            return partial(_is_instance, Mapping)
        return partial(_is_mapping, *map(_check, args))
    if _is_container(origin):
        return partial(_is_list, origin, _items_check(origin, args))
    if issubclass(origin, os.PathLike):
        return partial(_is_instance, os.PathLike)
    if issubclass(origin, IO):
        return lambda value: hasattr(value, "read")
    if getattr(origin, "_is_protocol", False):
        return partial(_has_members, frozenset(_protocol_members(origin)))
    return partial(_is_instance, origin)


def _anything(_: object) -> bool:
    return True


def _any_of(checks: Sequence[Check], value: object) -> bool:
    return any(check(value) for check in checks)


def _is_instance(type_: Any, value: object) -> bool:
    return isinstance(value, type_)


def _is_container(type_: type) -> bool:
    return issubclass(type_, Iterable) and type_ not in _TEXTS and type_.__module__ in ("builtins", "collections.abc")


def _items_check(origin: type, args: Sequence[Any]) -> Callable[[Any], bool]:
    if origin is tuple and args and args[-1] is not Ellipsis:
        checks = tuple(map(_check, args))
        return lambda items: len(items) == len(checks) and all(c(each) for c, each in zip(checks, items, strict=True))
    if origin is Iterable or not args or args[0] is Any:
        return _anything
    check = _check(args[0])
    return lambda items: all(map(check, items[:1] if hasattr(items, "dtype") else items))


def _is_list(type_: type, check_items: Check, value: object) -> bool:
    """Return whether a value is what a person calls a list, of fitting items; an iterator is not consumed."""
    if isinstance(value, (*_TEXTS, Mapping)) or not isinstance(value, Iterable) or getattr(value, "shape", None) == ():
        return False
    if not isinstance(value, Sized):
        return type_ is Iterable
    if isinstance(value, set | frozenset) and issubclass(type_, Sequence | list | tuple):
        return False  # it has no order
    return check_items(value)


def _is_mapping(check_key: Check, check_value: Check, value: object) -> bool:
    return isinstance(value, Mapping) and all(map(check_key, value)) and all(map(check_value, value.values()))


def _has_members(names: frozenset[str], value: object) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in names)


def _protocol_members(protocol: type) -> Iterator[str]:
    for each in protocol.__mro__:
        if getattr(each, "_is_protocol", False) and each is not typing.Protocol:
            yield from (name for name in {**vars(each), **inspect.get_annotations(each)} if name[:1] != "_")


def _is_number(type_: type, value: object) -> bool:
    """Return whether a value is a number, and not too large to be converted or printed."""
    if isinstance(value, bool) or not (type(value) is int or isinstance(value, type_)):
        return False
    return not isinstance(value, int) or value.bit_length() < _MAX_BITS


_TESTS: Mapping[Any, Check] = {
    type(None): lambda value: value is None,
    object: _anything,
    Any: _anything,
    bool: lambda value: isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"),
    int: partial(_is_number, Integral),
    float: partial(_is_number, Real),
    str: partial(_is_instance, str),
    Callable: callable,
}


# Messages


def _innermost(value: Any, hint: Any, name: str) -> tuple[str, Any, Any]:
    """Return the item of a list or mapping that does not fit, with its name and its hint, or else the whole value."""
    for option in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        origin, args = get_origin(option), get_args(option)
        if not args or not isinstance(origin, type) or (origin is tuple and args[-1] is not Ellipsis):
            continue
        if isinstance(value, Mapping) and issubclass(origin, Mapping):
            items: Iterable[tuple[Any, Any]] = value.items()
        elif _is_container(origin) and isinstance(value, Sized) and _is_list(origin, _anything, value):
            items = enumerate(value)  # type: ignore[arg-type]
        else:
            continue
        inner = args[-1] if issubclass(origin, Mapping) else args[0]
        for key, each in items:
            if not _check(inner)(each):
                return _innermost(each, inner, f"{name}[{show(key)}]")
    return name, value, hint


def _from_pydantic(error: Any) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {show(problem['input'])}"


_WORDS: Mapping[Any, str] = {
    type(None): "None",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bytes: "bytes",
    Callable: "a function",
}

_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def _describe(hint: Any) -> str:
    """Return a type hint in words, such as "a text or a list of whole numbers"."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        *most, last = dict.fromkeys(map(_describe, args))
        return f"{', '.join(most)} or {last}" if most else last
    if origin in (Literal, Annotated):
        return f"one of {', '.join(map(repr, args))}" if origin is Literal else _describe(args[0])
    if origin in _WORDS:
        return _WORDS[origin]
    if not isinstance(origin, type):
        return "a value"
    if issubclass(origin, Mapping):
        return "a mapping"
    if _is_container(origin):
        if origin is tuple and args[-1] is not Ellipsis:
            return f"a list of {len(args)} values"
        items = _PLURALS.get(args[0]) if args else None
        return f"a list of {items}" if items else "a list"
    if issubclass(origin, os.PathLike | IO):
        return "a path" if issubclass(origin, os.PathLike) else "an open file"
    return f"{'an' if origin.__name__[0] in 'AEIOU' else 'a'} {origin.__name__}"
