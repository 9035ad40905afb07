"""Translates LlamaIndex's metadata filters to expressions of the store, with the semantics of LlamaIndex's own store.

A key is one of the node's metadata. `id`, `kind`, `source` and the fields of `locator` ("locator.page",
"locator.start_s", "locator.end_s") are those of the chunk, and `ref_doc_id` is the document of the node. Dots access
nested values. A node that lacks a key matches only "!=", "nin" and "is_empty".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from florence_rag import InputError
from florence_rag.index.filters import expression
from florence_rag.index.literals import literal

NODE = "_node"
"""The metadata key of an item that stores the other fields of its node."""

_OWN = {
    "id": "id",
    "kind": "kind",
    "source": "source",
    "locator.page": "page",
    "locator.start_s": "start_s",
    "locator.end_s": "end_s",
    **dict.fromkeys(("ref_doc_id", "doc_id", "document_id"), f"metadata.{NODE}.ref_doc_id"),
}
_ALWAYS_THERE = ("id", "kind", "source")


def filters_to_expression(filters: MetadataFilters | None) -> str:
    """Return the filters as a Milvus expression; "" for none.

    Raises:
        InputError: If an operator is not supported.
    """
    if filters is None or not filters.filters:
        return ""
    every = (
        filters_to_expression(each) if isinstance(each, MetadataFilters) else _condition(each)
        for each in filters.filters
    )
    parts = [part for part in every if part]
    if parts and filters.condition == FilterCondition.NOT:
        return f"not ({any_of(parts)})"
    return any_of(parts) if filters.condition == FilterCondition.OR else all_of(parts)


def all_of(parts: Sequence[str]) -> str:
    """Join the parts that are not empty by "and"."""
    return " and ".join(f"({part})" for part in parts if part)


def any_of(parts: Sequence[str]) -> str:
    """Join the parts by "or"."""
    return " or ".join(f"({part})" for part in parts)


def one_of(field: str, values: Sequence[str]) -> str:
    """Return the condition that the field has one of these values."""
    return expression({field: list(values)})


def _condition(filter: MetadataFilter) -> str:
    if filter.operator not in _CONDITIONS:
        known = ", ".join(operator.value for operator in _CONDITIONS)
        raise InputError(f"the filter operator {filter.operator.value!r} is not supported; use {known}")
    key = filter.key.removeprefix("metadata.")
    field = _OWN.get(filter.key, f"metadata.{key}")
    return _CONDITIONS[filter.operator](field, filter.value)


def _compares(sign: str) -> Callable[[str, Any], str]:
    return lambda field, value: _exists_and(field, expression({field: {sign: value}}))


def _equals(field: str, value: Any) -> str:
    return expression({field: None}) if value is None else _compares("$eq")(field, value)


def _differs(field: str, value: Any) -> str:
    return f"not ({_equals(field, value)})"


def _is_in(field: str, values: Any) -> str:
    return _exists_and(field, expression({field: {"$in": values}}))


def _is_not_in(field: str, values: Any) -> str:
    return f"not ({_is_in(field, values)})"


def _contains(field: str, value: Any) -> str:
    if isinstance(value, list):
        raise InputError(f"the filter operator 'contains' of {field!r} takes one value, not {value!r}")
    return _exists_and(field, f"json_contains({_path(field)}, {literal(value)})")


def _contains_some(function: str) -> Callable[[str, Any], str]:
    def condition(field: str, values: Any) -> str:
        if not isinstance(values, list) or not values:
            raise InputError(f"the filter operators 'any' and 'all' of {field!r} take a list of values, not {values!r}")
        return _exists_and(field, f"{function}({_path(field)}, [{', '.join(map(literal, values))}])")

    return condition


def _is_empty(field: str, _: Any) -> str:
    """Use the empty keys that are stored with the node, because not every store can test for an empty list."""
    absent = expression({field: None})
    key = field.removeprefix("metadata.")
    return any_of([absent, f'json_contains(metadata["{NODE}"]["empty"], {literal(key)})']) if key != field else absent


def _exists_and(field: str, condition: str) -> str:
    """Make the condition false instead of unknown if the key is missing, so that it can be negated."""
    return condition if field in _ALWAYS_THERE else all_of([expression({field: {"$ne": None}}), condition])


def _path(field: str) -> str:
    keys = field.split(".")
    if keys[0] != "metadata":
        raise InputError(f"{field!r} is not a list; 'contains', 'any' and 'all' apply to lists in metadata")
    expression({field: None})  # refuses what cannot be quoted
    return "metadata" + "".join(f'["{key}"]' for key in keys[1:])


_CONDITIONS: Mapping[FilterOperator, Callable[[str, Any], str]] = {
    FilterOperator.EQ: _equals,
    FilterOperator.NE: _differs,
    FilterOperator.GT: _compares("$gt"),
    FilterOperator.GTE: _compares("$gte"),
    FilterOperator.LT: _compares("$lt"),
    FilterOperator.LTE: _compares("$lte"),
    FilterOperator.IN: _is_in,
    FilterOperator.NIN: _is_not_in,
    FilterOperator.ANY: _contains_some("json_contains_any"),
    FilterOperator.ALL: _contains_some("json_contains_all"),
    FilterOperator.CONTAINS: _contains,
    FilterOperator.IS_EMPTY: _is_empty,
}
