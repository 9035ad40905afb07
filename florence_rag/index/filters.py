"""Filters that are mappings: parses them, and decides in Python whether a hit matches.

    {"kind": "clip", "year": {"$gte": 2020}, "$or": [{"city": ["Rome", "Oslo"]}, {"tags": {"$contains": "sea"}}]}

All conditions of a mapping must hold. A plain value means equal, a list means one of several, None means missing or
null. `index/filter_pushdown.py` translates a filter to an expression by which the store discards most of the other
rows; what the store cannot evaluate, or stores evaluate differently, is decided here. docs/plugins.md lists the
operators.
"""

import json
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from numbers import Number
from typing import Any

from florence_rag.errors import InputError
from florence_rag.json_values import to_json_key, to_json_value
from florence_rag.types import Hit

FIELDS = ("id", "kind", "source", "page", "start_s", "end_s")
"""The fields of a chunk that a filter can name."""

MAX_VALUES = 10_000
"""The most conditions and values of a filter, all together."""

_MAX_DEPTH = 32
_MISSING = object()
_NODES = ("$and", "$or", "$not")


@dataclass(frozen=True, slots=True)
class Field:
    """What a key of a filter names.

    Attributes:
        column: One of FIELDS, or "".
        key: A key of the metadata, in which dots may lead into nested mappings. If there is a column too, the metadata
            of items come first.
    """

    column: str = ""
    key: str | None = None

    def value(self, hit: Hit) -> Any:
        """Return the value of a hit, or _MISSING."""
        if self.key is None or (self.column and not (hit.is_item and self.key in hit.metadata)):
            return _column(hit, self.column)
        return lookup(hit.metadata, self.key)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition on one field. `operator` is a key of _TESTS."""

    field: Field
    operator: str
    value: Any

    def matches(self, hit: Hit) -> bool:
        """Return whether a hit meets the condition."""
        return _TESTS[self.operator](self.field.value(hit), self.value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The condition that a field has one of several values; None also stands for a missing key."""

    field: Field
    values: list[Any]
    identities: frozenset[Any]

    def matches(self, hit: Hit) -> bool:
        """Return whether a hit meets the condition."""
        value = self.field.value(hit)
        return _identity(None if value is _MISSING else value) in self.identities


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions, of which every one must hold, or any one."""

    parts: tuple["Node", ...]
    every: bool = True

    def matches(self, hit: Hit) -> bool:
        """Return whether a hit meets the conditions."""
        return (all if self.every else any)(part.matches(hit) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a condition."""

    part: "Node"

    def matches(self, hit: Hit) -> bool:
        """Return whether a hit does not meet the condition."""
        return not self.part.matches(hit)


Node = Comparison | OneOf | Group | Not


def parse_filter(filter: Mapping[Any, Any]) -> Node:
    """Return the conditions of a filter.

    Raises:
        InputError: If an operator or a value is not valid; the message names its place, such as filter["$or"][1]. Or
            if it has more than MAX_VALUES values.
    """
    _check_size(filter)
    return _parse(filter, "filter", 0)


def lookup(metadata: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key; of one with dots that no key equals, the value inside nested mappings."""
    if key in metadata:
        return metadata[key]
    dot = key.find(".")
    while dot >= 0:
        inner = metadata.get(key[:dot])
        value = lookup(inner, key[dot + 1 :]) if isinstance(inner, Mapping) else _MISSING
        if value is not _MISSING:
            return value
        dot = key.find(".", dot + 1)
    return _MISSING


def names_field(node: Node) -> bool:
    """Return whether a filter names a field that items may have in their metadata."""
    match node:
        case Not(part):
            return names_field(part)
        case Group(parts):
            return any(map(names_field, parts))
    return node.field.column != "" and node.field.key is not None


def _column(hit: Hit, column: str) -> Any:
    if column in ("id", "kind", "source"):
        return hit.uri if column == "source" else getattr(hit, column)
    value = getattr(hit.locator, column)
    return _MISSING if value is None else value


def _identity(value: Any) -> Any:
    """Return what equal values have in common, and can be hashed: 1 equals 1.0, but not True."""
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, list | tuple):
        return list, tuple(map(_identity, value))
    if isinstance(value, Mapping):
        return dict, frozenset((key, _identity(each)) for key, each in value.items())
    return value


# Parsing


def _check_size(filter: Any) -> None:
    waiting, count = [filter], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, str | bytes) or not isinstance(value, Collection):
            continue
        if (count := count + len(value)) > MAX_VALUES:
            raise InputError(f"the filter has more than {MAX_VALUES:,} values; split it, and search with each part")
        waiting.extend(value.values() if isinstance(value, Mapping) else value)


def _parse(filter: Any, path: str, depth: int) -> Node:
    if not isinstance(filter, Mapping):
        raise InputError(f'{path} is {filter!r:.80}; it must be a mapping such as {{"city": "Rome"}}')
    if depth > _MAX_DEPTH:
        raise InputError(f"the filter is nested deeper than {_MAX_DEPTH} levels")
    parts = (_parse_entry(key, value, f"{path}[{json.dumps(str(key)):.80}]", depth) for key, value in filter.items())
    return _group(parts)


def _parse_entry(key: Any, value: Any, path: str, depth: int) -> Node:
    if key == "$not":
        return Not(_parse(value, path, depth + 1))
    if key in ("$and", "$or"):
        if not isinstance(value, list | tuple):
            raise InputError(f"{path} is {value!r:.80}; it must be a list of filters")
        parts = (_parse(each, f"{path}[{i}]", depth + 1) for i, each in enumerate(value))
        return _group(parts, every=key == "$and")
    if isinstance(key, str) and key.startswith("$"):
        raise InputError(
            f"{path} is not known here: {', '.join(_NODES)} join filters, and other operators stand below a key, such "
            f'as {{"year": {{"$gte": 2020}}}}'
        )
    return _parse_condition(_field(key), value, path, depth)


def _group(parts: Iterable[Node], *, every: bool = True) -> Node:
    known = tuple(parts)
    return known[0] if len(known) == 1 else Group(known, every)


def _field(key: Any) -> Field:
    name = to_json_key(key)
    prefix, dot, rest = name.partition(".")
    if prefix == "chunk" and rest in FIELDS:
        return Field(column=rest)
    if prefix == "metadata" and dot:
        return Field(key=rest)
    return Field(column=name if name in FIELDS else "", key=name)


def _parse_condition(field: Field, condition: Any, path: str, depth: int) -> Node:
    if isinstance(condition, list | tuple | set | frozenset):
        return _parse_operator(field, "$in", condition, path, depth)
    if not isinstance(condition, Mapping):
        return _parse_operator(field, "$eq", condition, path, depth)
    operators = [isinstance(name, str) and name.startswith("$") for name in condition]
    if not any(operators) and operators:
        return _parse_operator(field, "$eq", condition, path, depth)
    if not all(operators) or not operators:
        raise InputError(
            f'{path} is {dict(condition)!r:.80}; give operators such as {{"$gte": 2020}}, a value, or '
            '{"$eq": ...} for a mapping as value'
        )
    parts = (
        _parse_operator(field, name, each, f"{path}[{json.dumps(name):.80}]", depth) for name, each in condition.items()
    )
    return _group(parts)


def _parse_operator(field: Field, name: str, value: Any, path: str, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise InputError(f"the filter is nested deeper than {_MAX_DEPTH} levels")
    if name == "$not":
        return Not(_parse_condition(field, value, path, depth + 1))
    if name not in _OPERATORS:
        raise InputError(f"{path} is not an operator; use $not, {', '.join(_OPERATORS)}")
    return _OPERATORS[name](field, value, path)


def _one_of(field: Field, values: list[Any]) -> OneOf:
    return OneOf(field, values, frozenset(map(_identity, values)))


def _operand(field: Field, value: Any, path: str) -> Any:
    """Return the value as metadata would hold it; a source as it is, because names of files need not be Unicode."""
    if field.column == "source" and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    converted = to_json_value(value, path)
    if converted is None and value is not None:
        raise InputError(f"{path} is {value!r}, which metadata hold as None; write None to find missing values")
    return converted


def _operands(field: Field, value: Any, path: str) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{path} is {value!r:.80}; it must be a list of values")
    return [_operand(field, each, f"{path}[{i}]") for i, each in enumerate(value)]


def _bound(field: Field, value: Any, path: str) -> Any:
    """Return a value that an order comparison takes."""
    converted = _operand(field, value, path)
    if isinstance(converted, str) and isinstance(value, Number):  # too large for metadata to hold a number
        raise InputError(f"{path} is {value!r:.80}; a filter compares with finite numbers, whole ones of 64 bits")
    if not isinstance(converted, str | int | float):
        raise InputError(f"{path} is {value!r:.80}; it must be a text, a number or a date")
    return converted


def _text(field: Field, value: Any, path: str) -> str:
    converted = _operand(field, value, path)
    if not isinstance(converted, str):
        raise InputError(f"{path} is {value!r:.80}; it must be a text")
    return converted


def _exists(field: Field, value: Any, path: str) -> Node:
    if not isinstance(value, bool):
        raise InputError(f"{path} is {value!r:.80}; it must be true or false")
    exists = Comparison(field, "exists", None)
    return exists if value else Not(exists)


def _between(field: Field, value: Any, path: str) -> Node:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(f"{path} is {value!r:.80}; it must be a list of two values, the smallest and the largest")
    low, high = (_bound(field, each, f"{path}[{i}]") for i, each in enumerate(value))
    return Group((Comparison(field, "gte", low), Comparison(field, "lte", high)))


def _contains_all(field: Field, value: Any, path: str) -> Node:
    parts = (Comparison(field, "contains", each) for each in _operands(field, value, path))
    return Group((Not(_one_of(field, [None])), *parts))


def _comparing(name: str, check: Callable[[Field, Any, str], Any]) -> Callable[[Field, Any, str], Node]:
    return lambda field, value, path: Comparison(field, name, check(field, value, path))


_OPERATORS: Mapping[str, Callable[[Field, Any, str], Node]] = {
    "$eq": lambda field, value, path: _one_of(field, [_operand(field, value, path)]),
    "$ne": lambda field, value, path: Not(_one_of(field, [_operand(field, value, path)])),
    "$in": lambda field, value, path: _one_of(field, _operands(field, value, path)),
    "$nin": lambda field, value, path: Not(_one_of(field, _operands(field, value, path))),
    **{f"${name}": _comparing(name, _bound) for name in ("gt", "gte", "lt", "lte")},
    "$between": _between,
    "$exists": _exists,
    "$contains": _comparing("contains", _operand),
    "$icontains": _comparing("icontains", _text),
    "$any": _comparing("any", _operands),
    "$all": _contains_all,
    "$has": _comparing("has", _operand),
    "$prefix": _comparing("prefix", _text),
}


# Evaluation


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Return a test that is false for values of different kinds."""

    def test(value: Any, bound: Any) -> bool:
        kinds = [str if isinstance(each, str) else bool if isinstance(each, bool) else float for each in (value, bound)]
        return isinstance(value, str | int | float) and kinds[0] is kinds[1] and compare(value, bound)

    return test


def _contains(value: Any, part: Any) -> bool:
    if isinstance(value, str):
        return isinstance(part, str) and part in value
    if isinstance(value, Mapping):
        return isinstance(part, str) and value.get(part) is not None
    return _has(value, part)


def _contains_any(value: Any, parts: list[Any]) -> bool:
    if isinstance(value, list | tuple):  # two sets, because each may have very many elements
        return not set(map(_identity, value)).isdisjoint(map(_identity, parts))
    return any(_contains(value, part) for part in parts)


def _has(value: Any, part: Any) -> bool:
    return isinstance(value, list | tuple) and _identity(part) in map(_identity, value)


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": _ordering(operator.gt),
    "gte": _ordering(operator.ge),
    "lt": _ordering(operator.lt),
    "lte": _ordering(operator.le),
    "exists": lambda value, _: value is not _MISSING,
    "prefix": lambda value, prefix: isinstance(value, str) and value.startswith(prefix),
    "contains": _contains,
    "any": _contains_any,
    "icontains": lambda value, part: isinstance(value, str) and part.lower() in value.lower(),
    "has": _has,
}
