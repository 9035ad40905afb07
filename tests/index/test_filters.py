from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.filters import parse_filter
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import RowCodec
from florence_rag.json_values import to_json_value
from florence_rag.types import Chunk, EmbedderInfo, Hit, Locator, Source, item_uri
from tests.databases import SERVER, new_database

CITIES = [
    {
        "city": "Rome", "year": 2020, "tags": ["a", "b"], "ok": True, "none": None, "x.y": 1, "o'k": "q",
        "größe": "Straße", "nested": {"k": "v", "x.y": 2},
        "path": "C:\\pics\\a.jpg", "q": 'say "hi"', "pct": "100%_x", "i": 1, "f": 1.0,
        "when": datetime(2024, 5, 6, 1, tzinfo=timezone(timedelta(hours=2))), "": "empty", "$and": 1, "big": 2**60,
    },
    {"city": "Oslo", "year": 2024, "tags": ["b"], "ok": False, "i": 2, "f": 2.5, "x": {"y": 1}, "id": 7, "page": 3},
    {"city": "Bern", "kind": "invoice", "source": "/papers/a.pdf", "year": "2020", "numbers": [1, 2.0, True], "e": []},
]  # fmt: skip


def hit(metadata, id="1", *, is_item=True, **rest):
    source = item_uri(id) if is_item else "/photos/a.pdf"
    return Hit(id, "text", source, Locator(**rest), 0.0, metadata=to_json_value(metadata), is_item=is_item)


def found(filter):
    node = parse_filter(filter)
    return "".join(str(i) for i, metadata in enumerate(CITIES) if node.matches(hit(metadata, str(i))))


@pytest.mark.parametrize(
    ("filter", "ids"),
    [
        ({}, "012"),
        ({"city": "Rome"}, "0"),
        ({"city": ["Rome", "Bern"]}, "02"),
        ({"city": {"$in": ("Rome",)}}, "0"),
        ({"city": {"$in": np.array(["Rome", "Oslo"])}}, "01"),
        ({"city": []}, ""),
        ({"city": {"$in": []}}, ""),
        ({"city": {"$nin": []}}, "012"),
        ({"city": {"$nin": ["Rome"]}}, "12"),
        ({"missing": {"$ne": "x"}}, "012"),
        ({"missing": {"$nin": ["x"]}}, "012"),
        ({"missing": {"$not": {"$eq": "x"}}}, "012"),
        ({"missing": {"$gt": 1}}, ""),
        ({"missing": {"$not": {"$gt": 1}}}, "012"),
        ({"$or": [{"city": "Rome"}, {"year": 2024}]}, "01"),
        ({"$and": [{"city": "Rome"}, {"year": {"$gt": 2000}}]}, "0"),
        ({"$not": {"city": "Rome"}}, "12"),
        ({"$not": {"$or": [{"city": "Rome"}, {"city": "Oslo"}]}}, "2"),
        ({"$and": []}, "012"),
        ({"$or": []}, ""),
        ({"$not": {}}, ""),
        ({"city": {"$not": "Rome"}}, "12"),
        ({"city": {"$not": {"$in": ["Rome", "Oslo"]}}}, "2"),
        ({"year": {"$exists": True}}, "012"),
        ({"none": {"$exists": True}}, "0"),
        ({"none": {"$exists": False}}, "12"),
        ({"none": None}, "012"),
        ({"ok": None}, "2"),
        ({"ok": {"$ne": None}}, "01"),
        ({"ok": [None, True]}, "02"),
        ({"ok": True}, "0"),
        ({"ok": 1}, ""),
        ({"i": True}, ""),
        ({"i": 1.0}, "0"),
        ({"f": 1}, "0"),
        ({"ok": {"$gt": 0}}, ""),
        ({"year": "2020"}, "2"),
        ({"year": {"$gte": 2020, "$lt": 2024}}, "0"),
        ({"year": {"$between": [2020, 2024]}}, "01"),
        ({"big": 2**60}, "0"),
        ({"big": {"$gt": 2**60 - 1, "$lt": 2**60 + 1}}, "0"),
        ({"city": {"$contains": "om"}}, "0"),
        ({"city": {"$icontains": "OM"}}, "0"),
        ({"tags": {"$contains": "a"}}, "0"),
        ({"tags": {"$has": "b"}}, "01"),
        ({"tags": {"$any": ["a", "z"]}}, "0"),
        ({"tags": {"$all": ["a", "b"]}}, "0"),
        ({"tags": {"$all": []}}, "01"),
        ({"tags": {"$any": []}}, ""),
        ({"tags": "a"}, ""),
        ({"tags": {"$in": ["b"]}}, ""),
        ({"tags": {"$eq": ["a", "b"]}}, "0"),
        ({"tags": {"$ne": ["b"]}}, "02"),
        ({"tags": {"$in": [["b"], ["a", "b"]]}}, "01"),
        ({"e": {"$eq": []}}, "2"),
        ({"numbers": {"$contains": 2}}, "2"),
        ({"numbers": {"$contains": True}}, "2"),
        ({"numbers": {"$contains": False}}, ""),
        ({"nested": {"k": "v", "x.y": 2}}, "0"),
        ({"nested": {"k": "v"}}, ""),
        ({"nested": {"$contains": "k"}}, "0"),
        ({"nested.k": "v"}, "0"),
        ({"nested.x.y": 2}, "0"),
        ({"x.y": 1}, "01"),
        ({"metadata.x.y": 1}, "01"),
        ({"o'k": "q"}, "0"),
        ({"größe": "Straße"}, "0"),
        ({"path": "C:\\pics\\a.jpg"}, "0"),
        ({"path": PurePosixPath("C:\\pics\\a.jpg")}, "0"),
        ({"q": 'say "hi"'}, "0"),
        ({"pct": "100%_x"}, "0"),
        ({"pct": {"$prefix": "100%"}}, "0"),
        ({"pct": {"$prefix": "10_"}}, ""),
        ({"": "empty"}, "0"),
        ({"metadata.$and": 1}, "0"),
        ({"when": datetime(2024, 5, 5, 23, tzinfo=UTC)}, "0"),
        ({"when": {"$gte": date(2024, 5, 5), "$lt": datetime(2024, 5, 6, tzinfo=UTC)}}, "0"),
        ({"when": {"$gt": "2024"}}, "0"),
        ({"id": "0"}, "0"),
        ({"id": 7}, "1"),
        ({"chunk.id": "1"}, "1"),
        ({"page": 3}, "1"),
        ({"kind": "text"}, "01"),
        ({"kind": "invoice"}, "2"),
        ({"chunk.kind": "text"}, "012"),
        ({"source": "/papers/a.pdf"}, "2"),
        ({"source": {"$prefix": "item:"}}, "01"),
        ({1: 2}, ""),
        ({"city": "rome"}, ""),
    ],
)
def test_a_filter_finds(filter, ids):
    assert found(filter) == ids


@pytest.mark.timeout(30)
def test_a_list_of_many_values_is_compared_with_many_tags_in_little_time():
    tags = [f"t{i}" for i in range(200_000)]
    filter = parse_filter({"tags": {"$any": [f"x{i}" for i in range(9_000)]}})
    hit = Hit("id", "text", "/a.txt", Locator(), 1.0, metadata={"tags": tags})
    assert not filter.matches(hit) and filter.matches(replace(hit, metadata={"tags": [*tags, "x8999"]}))


def test_fields_of_files_come_before_their_metadata():
    page = hit({"page": 7, "source": "elsewhere"}, is_item=False, page=3)
    assert parse_filter({"page": 3, "source": "/photos/a.pdf", "start_s": None}).matches(page)
    assert parse_filter({"metadata.page": 7}).matches(page)
    assert not parse_filter({"page": {"$exists": False}}).matches(page)


def deep(filter, levels=100):
    for _ in range(levels):
        filter = {"$not": filter}
    return filter


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ({"$and": {"a": 1}}, r"""filter\["\$and"\] is {'a': 1}; it must be a list of filters"""),
        ({"$and": [{"a": 1}, 3]}, r'filter\["\$and"\]\[1\] is 3; it must be a mapping'),
        ({"$not": [1]}, r'filter\["\$not"\] is \[1\]; it must be a mapping'),
        ({"$gt": 1}, r'filter\["\$gt"\] is not known here: \$and, \$or, \$not join filters'),
        (
            {"$or": [{"a": 1}, {"year": {"$regex": "x"}}]},
            r'filter\["\$or"\]\[1\]\["year"\]\["\$regex"\] is not an operator; use',
        ),
        ({"year": {"$gt": None}}, r'filter\["year"\]\["\$gt"\] is None; it must be a text, a number or a date'),
        ({"year": {"$gt": [1]}}, "it must be a text, a number or a date"),
        ({"year": {"$gt": float("inf")}}, "is inf; a filter compares with finite numbers"),
        ({"year": {"$lt": 2**70}}, "whole ones of 64 bits"),
        ({"year": float("nan")}, "is nan, which metadata hold as None; write None"),
        ({"year": {"$in": 3}}, r'filter\["year"\]\["\$in"\] is 3; it must be a list'),
        ({"year": {"$in": "ab"}}, "it must be a list"),
        ({"year": {"$in": [1, object()]}}, r'\["\$in"\]\[1\] is <object'),
        ({"year": {"$exists": 1}}, "it must be true or false"),
        ({"year": {"$between": [1]}}, "a list of two values"),
        ({"year": {"$prefix": 1}}, "it must be a text"),
        ({"year": {}}, "give operators"),
        ({"year": {"$gt": 1, "a": 2}}, "give operators"),
        (deep({"a": 1}), "nested deeper than 32 levels"),
        ({"a": deep(1)}, "nested deeper than 32 levels"),
    ],
)
def test_an_invalid_filter_is_refused_at_its_place(filter, says):
    with pytest.raises(InputError, match=says) as caught:
        parse_filter(filter)
    assert "\n" not in str(caught.value)


# Against a plain implementation, in Python and in the store

ROWS = [
    *CITIES,
    {},
    {"a": 0, "b": "a"},
    {"a": 1, "b": "b"},
    {"a": True, "b": 1},
    {"a": False, "b": None},
    {"a": None, "b": [1]},
    {"a": 1.0, "b": ["a"]},
    {"a": 0.5, "b": ["a", "b", 1, None]},
    {"a": "1", "b": {"c": 1}},
    {"a": "a", "b": {"c": "a", "d": None}},
    {"a": {"b": 1}, "b": {}},
    {"a.b": 2, "a": {"b": 1}},
    {"a.b": "a", "b": []},
    {"a": 2**60, "b": -(2**63)},
    {"a": 2**53 + 1, "b": float(2**53)},
    {"a": [[1], {"c": 1}], "b": ""},
    {'a"b': "a", "a": "\\", "b": "%"},
]
KEYS = st.sampled_from(["a", "b", "a.b", "b.c", 'a"b', "missing", "metadata.a", "id", "kind", "page", "source", "city"])
SCALARS = st.sampled_from(
    [0, 1, True, False, 0.5, 1.0, "a", "b", "1", "", "\\", "%", 2**60, 2**53, 2**53 + 1, "3", "text"]
)
VALUES = SCALARS | st.none() | st.lists(SCALARS, max_size=2) | st.sampled_from([{"c": 1}, {}])
CONDITIONS = st.one_of(
    SCALARS | st.none(),
    st.lists(SCALARS | st.none(), max_size=3),
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne", "$contains", "$has"]), VALUES),
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), SCALARS),
    st.builds(
        lambda name, value: {name: value},
        st.sampled_from(["$in", "$nin", "$any", "$all"]),
        st.lists(SCALARS | st.none(), max_size=3),
    ),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
    st.builds(lambda value: {"$prefix": value}, st.sampled_from(["", "a", "\\", "te"])),
    st.builds(lambda name, value: {"$not": {name: value}}, st.sampled_from(["$eq", "$gt", "$contains"]), SCALARS),
)
FILTERS = st.recursive(
    st.dictionaries(KEYS, CONDITIONS, max_size=2),
    lambda inner: (
        st.builds(lambda name, parts: {name: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, max_size=3))
        | st.builds(lambda part: {"$not": part}, inner)
    ),
    max_leaves=5,
)


def equal(one, other):
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def order(name, value, bound):
    same = isinstance(value, str) == isinstance(bound, str) and isinstance(value, bool) == isinstance(bound, bool)
    if not same or not isinstance(value, str | int | float):
        return False
    return {"$gt": value > bound, "$gte": value >= bound, "$lt": value < bound, "$lte": value <= bound}[name]


def holds(row, id, key, condition):
    names = key.split(".")
    present, value = key in row, row.get(key)
    if key == "metadata.a":
        present, value = "a" in row, row.get("a")
    elif not present and key in ("id", "kind", "source"):
        present, value = True, {"id": id, "kind": "text", "source": f"item:{id}"}[key]
    elif not present and len(names) == 2 and isinstance(row.get(names[0]), dict):
        present, value = names[1] in row[names[0]], row[names[0]].get(names[1])
    if isinstance(condition, list):
        condition = {"$in": condition}
    elif not isinstance(condition, dict):
        condition = {"$eq": condition}
    return all(operator_holds(name, present, value, wanted) for name, wanted in condition.items())


def operator_holds(name, present, value, wanted):
    def contains(part):
        if isinstance(value, str):
            return isinstance(part, str) and part in value
        if isinstance(value, dict):
            return isinstance(part, str) and value.get(part) is not None
        return isinstance(value, list) and any(equal(each, part) for each in value)

    match name:
        case "$not":
            return not all(operator_holds(inner, present, value, each) for inner, each in wanted.items())
        case "$eq" | "$ne":
            return equal(value, wanted) == (name == "$eq")
        case "$in" | "$nin":
            return any(equal(value, each) for each in wanted) == (name == "$in")
        case "$exists":
            return present == wanted
        case "$prefix":
            return isinstance(value, str) and value.startswith(wanted)
        case "$contains":
            return contains(wanted)
        case "$has":
            return isinstance(value, list) and contains(wanted)
        case "$any":
            return any(map(contains, wanted))
        case "$all":
            return value is not None and all(map(contains, wanted))
    return order(name, value, wanted)


def fits(row, id, filter):
    for key, condition in filter.items():
        if key == "$not":
            good = not fits(row, id, condition)
        elif key in ("$and", "$or"):
            good = (all if key == "$and" else any)(fits(row, id, each) for each in condition)
        else:
            good = holds(row, id, key, condition)
        if not good:
            return False
    return True


@settings(max_examples=500)
@given(FILTERS)
def test_python_finds_what_a_plain_implementation_finds(filter):
    node = parse_filter(filter)
    for i, metadata in enumerate(ROWS):
        assert node.matches(hit(metadata, str(i))) == fits(to_json_value(metadata), str(i), filter), metadata


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Indexes of the rows as items, on Milvus Lite with flat metadata and without; a server has no flat metadata."""
    embedder = EmbedderInfo("none", "0", 2, "")
    with (
        new_database(tmp_path_factory.mktemp("filters")) as uri,
        MilvusIndex.open(uri, embedder, collection="flat") as flat,
        MilvusIndex.open(uri, embedder, collection="nested") as nested,
    ):
        if not SERVER:
            nested.chunks = replace(nested.chunks, codec=RowCodec())
        for index in (flat, nested):
            for i, metadata in enumerate(ROWS):
                source = Source(item_uri(str(i)), "text", 1, 1, "h")
                index.begin(source)
                index.add([Chunk(source, "text", metadata=metadata, custom_id=str(i))], [[1.0, 0.0]])
                index.complete(source)
            index.flush()
        yield flat, nested


@pytest.mark.parametrize("layout", [pytest.param(0, marks=pytest.mark.lite), 1])
def test_the_store_finds_what_a_plain_implementation_finds(layouts, layout):
    index = layouts[layout]

    @settings(max_examples=40 if SERVER else 150)
    @given(FILTERS)
    def compare(filter):
        expected = {str(i) for i, row in enumerate(ROWS) if fits(to_json_value(row), str(i), filter)}
        assert {hit.id for hit in index.find(filter=filter)} == expected
        assert {hit.id for hit in index.search_vector([1.0, 0.0], 30, filter=filter)} == expected

    compare()


@pytest.mark.parametrize(
    "filter",
    [
        {"x": list(range(10_001))},
        {"x": {"$in": set(range(10_001))}},
        {"$or": [{"x": i} for i in range(5_001)]},
        {f"k{i}": i for i in range(10_001)},
        {"$not": {"$and": [{"x": ["a"] * 4_000}, {"y": {"$any": ("b",) * 4_000}}, {"z": range(4_000)}]}},
    ],
)
def test_a_filter_that_would_take_too_long_is_refused(filter):
    with pytest.raises(InputError, match=r"more than 10,000 values; split it"):
        parse_filter(filter)


def test_a_large_filter_is_not_cut():
    assert len(parse_filter({"x": list(range(9_000))}).values) == 9_000
