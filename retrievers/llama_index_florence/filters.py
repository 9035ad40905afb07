"""Translates LlamaIndex's metadata filters to filters of the index, with the semantics of LlamaIndex's own store.

A key is one of the node's metadata. `id`, `kind` and `source` are those of the chunk if the node has no such metadata,
"locator.page", "locator.start_s" and "locator.end_s" are fields of its locator, and `ref_doc_id` is its document. Dots
also lead into nested values. A node that lacks a key matches only "!=", "nin" and "is_empty".
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from florence_rag import InputError
from florence_rag.index.filters import parse_filter

NODE = "_node"
"""The metadata key of an item that stores the other fields of its node."""

Filter = dict[str, Any]

_KEYS = {
    "locator.page": "chunk.page",
    "locator.start_s": "chunk.start_s",
    "locator.end_s": "chunk.end_s",
    **dict.fromkeys(("ref_doc_id", "doc_id", "document_id"), f"metadata.{NODE}.ref_doc_id"),
}


def to_filter(filters: MetadataFilters | None) -> Filter:
    """Return the filters as a filter of the index; {} for none.

    Raises:
        InputError: If an operator cannot have this value.
    """
    if filters is None or not filters.filters:
        return {}
    parts = [to_filter(each) if isinstance(each, MetadataFilters) else _condition(each) for each in filters.filters]
    known = [part for part in parts if part]
    if known and filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": known}}
    return {"$or": known} if known and filters.condition == FilterCondition.OR else {"$and": known}


def _condition(filter: MetadataFilter) -> Filter:
    key = _KEYS.get(filter.key, f"metadata.{filter.key}" if filter.key.startswith("$") else filter.key)
    if filter.operator in _LIST_OPERATORS and not isinstance(filter.value, list):
        raise InputError(
            f"the filter operator {filter.operator.value!r} of {filter.key!r} takes a list of values, not "
            f"{filter.value!r:.80}"
        )
    condition = _CONDITIONS[filter.operator](key, filter.value)
    try:
        parse_filter(condition)
    except InputError as error:  # which points into the condition
        raise InputError(
            f"the filter operator {filter.operator.value!r} of {filter.key!r} cannot take {filter.value!r:.80}; "
            f"{str(error).rpartition('; ')[2]}"
        ) from error
    return condition


def _equal(key: str, value: Any) -> Filter:
    return {key: {"$in": [] if value is None else _with_bools(value)}}  # nothing equals None


def _one_of(key: str, values: list[Any]) -> Filter:
    return {key: {"$in": [each for value in values for each in _with_bools(value)]}}


def _ordered(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[str, Any], Filter]:
    def condition(key: str, value: Any) -> Filter:
        bools = [each for each in (False, True) if isinstance(value, int | float) and compare(each, value)]
        return {"$or": [{key: {name: value}}, {key: {"$in": bools}}]}

    return condition


def _contains(key: str, value: Any) -> Filter:
    return {key: {"$any": _with_bools(value)}}


def _any(key: str, values: list[Any]) -> Filter:
    return {"$or": [_contains(key, value) for value in values]}


def _all(key: str, values: list[Any]) -> Filter:
    return {"$and": [{key: {"$ne": None}}, *(_contains(key, value) for value in values)]}


def _with_bools(value: Any) -> list[Any]:
    """Return the value, and the truth value that Python takes for it: filters of LlamaIndex cannot hold one."""
    return [value, bool(value)] if isinstance(value, int | float) and value in (0, 1) else [value]


_LIST_OPERATORS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
_CONDITIONS: Mapping[FilterOperator, Callable[[str, Any], Filter]] = {
    FilterOperator.EQ: _equal,
    FilterOperator.NE: lambda key, value: {"$not": _equal(key, value)},
    FilterOperator.GT: _ordered("$gt", operator.gt),
    FilterOperator.GTE: _ordered("$gte", operator.ge),
    FilterOperator.LT: _ordered("$lt", operator.lt),
    FilterOperator.LTE: _ordered("$lte", operator.le),
    FilterOperator.IN: _one_of,
    FilterOperator.NIN: lambda key, values: {"$not": _one_of(key, values)},
    FilterOperator.ANY: _any,
    FilterOperator.ALL: _all,
    FilterOperator.CONTAINS: _contains,
    FilterOperator.TEXT_MATCH: lambda key, value: {key: {"$prefix": "", "$contains": value}},  # only of a text
    FilterOperator.TEXT_MATCH_INSENSITIVE: lambda key, value: {key: {"$icontains": value}},
    FilterOperator.IS_EMPTY: lambda key, _: {key: {"$in": [None, "", []]}},
}
