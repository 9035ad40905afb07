"""Translates filters to expressions by which the store discards rows that cannot match.

The expression of a filter is true for every row that matches, and possibly for others, which `Node.matches` discards
afterwards. So it leaves out what the store cannot evaluate, or what stores evaluate differently: Milvus Lite takes
`true` for 1, a comparison of a text with a number is neither true nor false, and a server refuses an expression that is
nested more than about 45 levels deep, of which each `or` and each `and` is one. "" stands for no restriction.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import Any

from florence_rag.errors import InputError
from florence_rag.index.base import Filter
from florence_rag.index.filters import Comparison, Group, Node, Not, OneOf, parse_filter
from florence_rag.index.lite.metadata import flat_path
from florence_rag.index.literals import NOTHING, Scalar, all_of, any_of, closed, literal, one_of, starts_with
from florence_rag.index.row_codec import NO_VALUE
from florence_rag.index.text_codec import encode_uri
from florence_rag.types import KINDS, Kind, item_uri

IS_ITEM = starts_with("source", item_uri(""))
_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_TEXT_COLUMNS = ("id", "kind", "source")
_EXACT = 2**53  # up to here, floats hold all whole numbers
_MAX_COST = 50
"""Of an expression for Milvus Lite: in the time of more comparisons, it returns the rows, and Python decides."""
_LIST_TEST_COST = 12  # because Lite reads the JSON of the row
_VALUES_PER_COST = 20  # of a list that a column is compared with
_MAX_LEVELS = 10
"""Of a filter. With at most 10,000 values in it, which take 14 levels, the expression has at most about 40."""
_MANY = 4
"""From so many values on, metadata are compared with a list."""
_MAX_DOTS = 2
"""Of a key; every dot doubles the number of places where its value may be."""


def expression(
    filter: Filter | Node | None = None,
    kinds: Collection[Kind] | None = None,
    *,
    has_items: bool = True,
    flat: bool = False,
    nulls: bool = True,
    stored_id: Callable[[str], str] = str,
) -> str:
    """Combine the filter and the kinds into one Milvus expression, or return "" if there is no restriction.

    has_items: whether the index has items, whose metadata come before columns. flat: whether the store has flat
    metadata, as Milvus Lite needs them. nulls: whether columns can be null, or hold NO_VALUE instead. stored_id: turns
    an id into the stored one.
    """
    parts = []
    if kinds is not None:
        if isinstance(kinds, str) or not kinds:
            raise InputError(f"kinds is {kinds!r}; give a collection of {', '.join(KINDS)}, or None for all")
        parts.append(one_of("kind", sorted({_kind(kind) for kind in kinds})))
    if isinstance(filter, str):
        parts += [closed(filter)] if filter.strip() else []
    elif filter is not None:
        node = parse_filter(filter) if isinstance(filter, Mapping) else filter
        parts.append(_Pushdown(flat, has_items, nulls, stored_id).translate(node))
    return all_of(parts)


def check_filter(filter: Any) -> Node | None:
    """Return the conditions of a filter that is a mapping; None for an expression, or for no filter.

    Raises:
        InputError: If it is neither, or not valid.
    """
    if filter is None or isinstance(filter, str):
        return None
    if not isinstance(filter, Mapping):
        raise InputError(
            f'a filter is a mapping such as {{"city": "Rome"}}, or a Milvus expression, not {filter!r:.80}'
        )
    return parse_filter(filter)


def _kind(value: Any) -> str:
    if value not in KINDS:
        raise InputError(f"kind {value!r} is unknown; kinds are {', '.join(KINDS)}")
    return str(value)


@dataclass(frozen=True, slots=True)
class _Pushdown:
    """The translation of filters for one store."""

    flat: bool
    has_items: bool
    nulls: bool
    stored_id: Callable[[str], str] = str

    def translate(self, node: Node, *, negated: bool = False, level: int = 0) -> str:
        """Return the expression of a node, or of its negation; "" if it is too deep, or would take the store too long.

        level: how many nodes contain this one.
        """
        return all_of(self._affordable([self._translate(node, negated, level)])) if level < _MAX_LEVELS else ""

    def _affordable(self, parts: Sequence[str]) -> list[str]:
        """Return those of several expressions that the store evaluates sooner than Python reads the rows."""
        if not self.flat:
            return list(parts)
        costs = accumulate(map(_cost, parts))
        return [part for part, cost in zip(parts, costs, strict=True) if cost <= _MAX_COST]

    def _translate(self, node: Node, negated: bool, level: int) -> str:
        match node:
            case Not(part):
                return self.translate(part, negated=not negated, level=level)
            case Group(parts, every):
                each = [self.translate(part, negated=negated, level=level + 1) for part in parts]
                return all_of(self._affordable(each)) if every != negated else any_of(each)
            case Comparison(field, "any", values):
                any_one = Group(tuple(Comparison(field, "contains", value) for value in values), every=False)
                return self._translate(any_one, negated, level)
        field = node.field
        in_column = (
            _column(field.column, self.nulls, self.stored_id).condition(node, negated) if field.column else NOTHING
        )
        if field.key is None or (field.column and not self.has_items):
            return in_column
        in_metadata = self._metadata(field.key, node, negated)
        if not field.column:
            return in_metadata
        return any_of([in_column, IS_ITEM if negated else all_of([IS_ITEM, in_metadata])])

    def _metadata(self, key: str, node: Comparison | OneOf, negated: bool) -> str:
        parts = [place.condition(node, negated) for place in _in_metadata(key, self.flat)]
        return "" if not parts or (negated and len(parts) > 1) else any_of(parts)


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in a row where the value of a field may be.

    Attributes:
        path: What expressions call it.
        present: The condition that there is a value; "" if there always is one.
        absent: The opposite.
        absent_or_null: The condition that there is no value or null; "" if stores disagree on it.
        comparable: Returns a value as the store compares it: () if nothing here equals it, None if stores differ.
        json_paths: If the place is in the metadata, what expressions may call it in their JSON.
    """

    path: str
    present: str
    absent: str
    absent_or_null: str
    comparable: Callable[[Any], tuple[Scalar, ...] | None]
    json_paths: tuple[str, ...] = ()

    def condition(self, node: Comparison | OneOf, negated: bool) -> str:
        if isinstance(node, OneOf):
            return self._one_of(node.values, negated)
        if node.operator == "exists":
            return self.absent if negated else "" if self.json_paths else self.present  # JSON null is not present
        return "" if negated else self._comparison(node.operator, node.value)

    def _one_of(self, values: Sequence[Any], negated: bool) -> str:
        comparable = [self.comparable(value) for value in values if value is not None]
        found = [value for each in comparable for value in each or ()]
        if None in comparable or (negated and self.json_paths and any(value in (0, 1) for value in found)):
            return ""  # Lite takes true for 1
        equal = self._equals(found) if found else ""
        if not negated:
            return any_of([self.absent_or_null if None in values else NOTHING, equal or NOTHING])
        differs = f"not ({equal})" if equal else ""
        return all_of([self.present, differs]) if None in values else any_of([self.absent, differs])

    def _equals(self, values: list[Scalar]) -> str:
        if not self.json_paths:
            return one_of(self.path, values)
        if len(values) < _MANY or self.path not in self.json_paths:  # Lite takes `in` on plain fields only
            return " or ".join(f"{self.path} == {literal(value)}" for value in values)
        # A server wants values of one type in a list. Whether 1 is in [1.0], depends on its version.
        numbers = [value for value in values if _is_number(value)]
        lists = (
            [value for value in values if isinstance(value, str)],
            [value for value in values if isinstance(value, bool)],
            [int(value) for value in numbers if value == int(value)],
            [float(value) for value in numbers],
        )
        return any_of(one_of(self.path, each) for each in lists if each)

    def _comparison(self, operator: str, value: Any) -> str:
        comparable = self.comparable(value)
        if operator in _SIGNS and comparable is not None:
            return f"{self.path} {_SIGNS[operator]} {literal(*comparable)}" if comparable else NOTHING
        if operator == "prefix" and comparable:
            return starts_with(self.path, str(comparable[0]))
        if operator not in ("has", "contains") or not isinstance(value, str) or not self.json_paths:
            return self.present
        # This tests the JSON field itself, because Lite cannot search lists in its dynamic field.
        listed = [f"json_contains({path}, {literal(value)})" for path in self.json_paths]
        if operator == "has":
            return any_of(listed)
        is_text, mapped = f'{self.path} >= ""', [f"(exists {path}{_step(value)})" for path in self.json_paths]
        return any_of([is_text, *listed, *mapped]) if _is_nameable(value) else self.present


def _cost(expression: str) -> int:
    """Return the number of comparisons with flat metadata that a row takes as long as."""
    listed = expression.count('", "') // _VALUES_PER_COST
    return expression.count("$meta[") + _LIST_TEST_COST * expression.count("json_contains(") + listed


def _column(name: str, nulls: bool, stored_id: Callable[[str], str]) -> _Place:
    if name in _TEXT_COLUMNS:
        encode = {"source": encode_uri, "id": stored_id}.get(name, str)
        return _Place(name, "", NOTHING, NOTHING, lambda value: (encode(value),) if isinstance(value, str) else ())
    comparable = _comparable_page if name == "page" else _comparable_time
    absent = f"{name} is null" if nulls else f"{name} == {literal(NO_VALUE)}"
    present = f"{name} is not null" if nulls else f"{name} != {literal(NO_VALUE)}"
    return _Place(name, present, absent, absent, comparable)


def _in_metadata(key: str, flat: bool) -> Iterator[_Place]:
    """Yield the places of a key, of which a dot is part, or leads into a nested mapping; nothing for an odd key."""
    if not _is_nameable(key) or key.count(".") > _MAX_DOTS:
        return
    splits = product(".\0", repeat=key.count("."))
    nested = tuple("metadata" + "".join(map(_step, _split(key, each))) for each in splits)
    for path in [flat_path(key)] if flat else nested:
        absent = f"not (exists {path})"
        yield _Place(path, f"exists {path}", absent, absent if flat else "", _comparable_json, nested)


def _split(key: str, separators: Sequence[str]) -> list[str]:
    """Replace each dot of a key by a separator, and split it at the NULs."""
    first, *rest = key.split(".")
    return (first + "".join(map("".join, zip(separators, rest, strict=True)))).split("\0")


def _step(key: str) -> str:
    return f'["{key}"]'


def _is_nameable(key: str) -> bool:
    """Return whether an expression can name a key of JSON."""
    return key != "" and key.isprintable() and not set(key) & set("\"'\\[]")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _comparable_json(value: Any) -> tuple[Scalar, ...] | None:
    is_known = isinstance(value, str | bool) or (_is_number(value) and abs(value) <= _EXACT)
    return (value,) if is_known else None


def _comparable_page(value: Any) -> tuple[Scalar, ...] | None:
    if not _is_number(value):
        return ()
    return (int(value),) if value == int(value) and abs(value) <= _EXACT else None


def _comparable_time(value: Any) -> tuple[Scalar, ...] | None:
    return (float(value),) if _is_number(value) else ()
