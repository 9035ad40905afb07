"""Translates LlamaIndex's metadata filters to expressions of the store, with the semantics of LlamaIndex's own store.

A key is one of the node's metadata. `id`, `kind`, `source` and the fields of `locator` ("locator.page",
"locator.start_s", "locator.end_s") are those of the chunk, and `ref_doc_id` is the document of the node. Dots access
nested values. A node that lacks a key matches only "!=", "nin" and "is_empty".
"""

from collections.abc import Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from florence_rag import InputError
from florence_rag.index.filters import expression, literal

NODE = "_node"
"""The metadata key of an item that stores the other fields of its node."""

_FIELDS = {
    "id": "id",
    "kind": "kind",
    "source": "source",
    "locator.page": "page",
    "locator.start_s": "start_s",
    "locator.end_s": "end_s",
    **dict.fromkeys(("ref_doc_id", "doc_id", "document_id"), f"metadata.{NODE}.ref_doc_id"),
}
_ALWAYS_PRESENT = ("id", "kind", "source")
_COMPARISONS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$eq",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$in",
}
_LIST_FUNCTIONS = {
    FilterOperator.ANY: "json_contains_any",
    FilterOperator.ALL: "json_contains_all",
    FilterOperator.CONTAINS: "json_contains",
}


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
    operator, value = filter.operator, filter.value
    key = filter.key.removeprefix("metadata.")
    field = _FIELDS.get(filter.key, f"metadata.{key}")
    absent = expression({field: None})  # refuses a key that cannot be quoted
    if operator in _COMPARISONS:
        is_null = value is None and operator in (FilterOperator.EQ, FilterOperator.NE)
        holds = absent if is_null else _if_present(field, expression({field: {_COMPARISONS[operator]: value}}))
        return f"not ({holds})" if operator in (FilterOperator.NE, FilterOperator.NIN) else holds
    if operator in _LIST_FUNCTIONS:
        return _if_present(field, _list_condition(field, operator, value))
    if operator == FilterOperator.IS_EMPTY:
        # The empty keys are stored with the node, because not every store can test for an empty list.
        is_stored = f'json_contains(metadata["{NODE}"]["empty"], {literal(field.removeprefix("metadata."))})'
        return any_of([absent, is_stored]) if field.startswith("metadata.") else absent
    known = ", ".join(each.value for each in (*_COMPARISONS, *_LIST_FUNCTIONS, FilterOperator.IS_EMPTY))
    raise InputError(f"the filter operator {operator.value!r} is not supported; use {known}")


def _list_condition(field: str, operator: FilterOperator, value: Any) -> str:
    table, *keys = field.split(".")
    if table != "metadata":
        raise InputError(f"{field!r} is not a list; 'contains', 'any' and 'all' apply to lists in metadata")
    path = "metadata" + "".join(f'["{key}"]' for key in keys)
    if operator == FilterOperator.CONTAINS:
        if isinstance(value, list):
            raise InputError(f"the filter operator 'contains' of {field!r} takes one value, not {value!r}")
        return f"json_contains({path}, {literal(value)})"
    if not isinstance(value, list) or not value:
        raise InputError(f"the filter operators 'any' and 'all' of {field!r} take a list of values, not {value!r}")
    return f"{_LIST_FUNCTIONS[operator]}({path}, [{', '.join(map(literal, value))}])"


def _if_present(field: str, condition: str) -> str:
    """Make the condition false instead of unknown if the key is missing, so that it can be negated."""
    return condition if field in _ALWAYS_PRESENT else all_of([expression({field: {"$ne": None}}), condition])
