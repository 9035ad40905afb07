import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.filter_pushdown import expression
from florence_rag.text_arguments import clean
from florence_rag.types import Chunk, Locator
from tests.databases import new_database

NASTY = [
    "x'] or id in ['k",
    'x"] or id in ["k',
    "\\",
    '\\"',
    "a\\'b",
    "line\nbreak\r\ttab",
    "\0\x01\x1f\x7f",
    "100%_like",
    "{x} $meta {{",
    "'; drop --",
    "é夜景😀\u2028\ufffe",
    "\ud800",
    "",
    " ",
    "true",
    "\\u0041\\x41\\101",
]
nasty = st.one_of(st.sampled_from(NASTY), st.text(), st.text(string.punctuation + string.whitespace + "\0\x7f"))


ITEM = 'source >= "item:" and source < "item;"'


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, ""),
        ("", ""),
        ({}, ""),
        ({"kind": "clip"}, 'kind in ["clip"]'),
        ({"chunk.id": {"$in": ("a", "b")}}, 'id in ["a", "b"]'),
        ({"id": {"$prefix": "a/"}}, 'id >= "a/" and id < "a0"'),
        ({"start_s": {"$gte": 3, "$lt": 9.5}}, "(start_s >= 3.0) and (start_s < 9.5)"),
        ({"page": 2, "id": "x"}, '(page in [2]) and (id in ["x"])'),
        ({"page": None}, "page is null"),
        ({"page": {"$ne": None}}, "page is not null"),
        ({"page": {"$ne": 2}}, "(page is null) or (not (page in [2]))"),
        ({"page": "2"}, 'id == ""'),
        ({"page": {"$gt": 2.5}}, "page is not null"),
        ({"city": "Rome"}, 'metadata["city"] == "Rome"'),
        ({"metadata.city": "Rome"}, 'metadata["city"] == "Rome"'),
        ({"exif.iso": {"$lte": 400}}, '(metadata["exif.iso"] <= 400) or (metadata["exif"]["iso"] <= 400)'),
        ({"n": [1, 2]}, 'metadata["n"] == 1 or metadata["n"] == 2'),
        ({"n": None}, ""),  # a server may or may not take null for a value
        ({"n": {"$ne": 5}}, '(not (exists metadata["n"])) or (not (metadata["n"] == 5))'),
        (
            {"n": {"$nin": ["a", "b", 2, 2.5]}},
            '(not (exists metadata["n"])) or (not ((metadata["n"] in ["a", "b"]) or (metadata["n"] in [2]) '
            'or (metadata["n"] in [2.0, 2.5])))',
        ),
        ({"on": True}, 'metadata["on"] == true'),
        ({"tags": {"$has": "sea"}}, 'json_contains(metadata["tags"], "sea")'),
        ({"$or": [{"a": "x"}, {"b": "y"}]}, '(metadata["a"] == "x") or (metadata["b"] == "y")'),
        ({"$not": {"$or": [{"a": None}, {"n": {"$gt": 3}}]}}, 'exists metadata["a"]'),
        ({"$or": []}, 'id == ""'),
        ({"n": {"$in": []}}, 'id == ""'),
        ({"n": {"$nin": []}}, ""),
        ("page > 2 or page < 1", "page > 2 or page < 1"),
        (r'caption == "\") or (" or page == 1', r'caption == "\") or (" or page == 1'),
    ],
)
def test_a_filter_is_written_as_milvus_reads_it(filter, expected):
    assert expression(filter, has_items=False) == expected


def test_metadata_of_items_come_before_columns():
    assert expression({"source": "/a"}) == f'(source in ["/a"]) or (({ITEM}) and (metadata["source"] == "/a"))'
    assert expression({"page": {"$ne": 2}}) == f"((page is null) or (not (page in [2]))) or ({ITEM})"
    assert expression({"chunk.page": 2}) == "page in [2]"


@pytest.mark.parametrize(
    "filter",
    [
        {"n": {"$ne": 1}},  # Lite takes true for 1
        {"ok": {"$nin": [True]}},
        {"n": {"$not": {"$gt": 3}}},  # of a text, neither true nor false
        {"n": 2**60},
        {"n": {"$eq": [1]}},
        {"n": {"$exists": True}},  # JSON null counts as missing
        {"a.b": {"$ne": "x"}},
        {"a.b.c.d": 1},
        {'a"b': 1},
        {"": 1},
        {"a\n": 1},
        {"$or": [{"city": "Rome"}, {'a"b': 1}]},
    ],
)
def test_what_stores_evaluate_differently_is_left_to_python(filter):
    assert expression(filter) == ""


MANY = [f"v{i}" for i in range(2_000)]


@pytest.mark.parametrize(
    ("filter", "left"),
    [
        ({"a": MANY}, ""),
        ({"a": MANY[:60]}, ""),
        ({"source": MANY}, ""),
        ({"a": MANY, "kind": "clip"}, 'kind in ["clip"]'),
        ({"a": {"$nin": MANY}}, ""),
        ({"$or": [{"a": value} for value in MANY]}, ""),
        ({"$or": [{"page": 1}, {"a": MANY}]}, ""),
        ({"a": {"$any": MANY[:5]}}, ""),
        ({"$and": [{"a": "x"}, *({f"k{i}": {"$has": "y"}} for i in range(9))]}, None),
    ],
)
def test_milvus_lite_is_not_asked_what_takes_it_longer_than_python(filter, left):
    narrowed = expression(filter, has_items=False, flat=True)
    assert narrowed == left or (left is None and 0 < narrowed.count("json_contains") <= 4)
    assert len(expression(filter, has_items=False, flat=False)) > len(narrowed), "a server is asked"


def test_kinds_are_joined_to_a_filter_that_cannot_widen_them():
    assert expression("page > 2 or true", {"page", "clip"}) == '(kind in ["clip", "page"]) and (page > 2 or true)'


@pytest.mark.parametrize(
    "raw", ["page > 2) or (true", "page > 2)", "(page > 2", 'caption == "a', "caption == 'a\\'", ")("]
)
def test_an_expression_cannot_break_out_of_its_parentheses(raw):
    with pytest.raises(InputError, match="without its partner"):
        expression(raw, {"clip"})


@pytest.mark.parametrize("kinds", [[], set(), "image", ["photo"]])
def test_kinds_must_be_kinds(kinds):
    with pytest.raises(InputError, match="kind"):
        expression(None, kinds)


@pytest.fixture(scope="module")
def travel(tmp_path_factory):
    """A text without a locator, three clips of 3 s, and a page, with cities of several types."""
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.types import EmbedderInfo, Source

    video, other = Source("/v/100%_a.mp4", "video", 1, 1, "v"), Source("/v/100x_a.pdf", "pdf", 1, 1, "p")
    made = [
        Chunk(video, "text", metadata={"name": "text"}),
        *(
            Chunk(video, "clip", Locator(start_s=3.0 * i, end_s=3.0 * i + 3), metadata={"name": f"clip{i}", "n": i})
            for i in range(3)
        ),
        Chunk(other, "page", Locator(page=7), metadata={"name": "page", "n": "1", "at": {"city": "Rome"}, "ok": True}),
    ]
    with (
        new_database(tmp_path_factory.mktemp("travel")) as uri,
        MilvusIndex.open(uri, EmbedderInfo("none", "0", 2, "")) as index,
    ):
        for one in (video, other):
            index.begin(one)
        index.add(made, [[1.0, 0.0]] * len(made))
        for one in (video, other):
            index.complete(one)
        yield index


def nested(filter, levels=30):
    """Join a filter with others, some of which no row meets."""
    for i in range(levels):
        rest = [{"metadata.n": {"$ne": 100 + i}}, {"source": {"$ne": "/x"}}] if i % 2 else [{"page": -i}, {"id": "no"}]
        filter = {"$and" if i % 2 else "$or": [filter, *rest]}
    return filter


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"kind": "clip"}, "clip0 clip1 clip2"),
        ({"kind": {"$ne": "clip"}}, "page text"),
        ({"start_s": {"$gte": 3}}, "clip1 clip2"),
        ({"start_s": {"$gte": 3}, "end_s": {"$lte": 6}}, "clip1"),
        ({"start_s": None}, "page text"),
        ({"start_s": [0, 6]}, "clip0 clip2"),
        ({"page": {"$ne": None}}, "page"),
        ({"page": {"$ne": 6}}, "clip0 clip1 clip2 page text"),
        ({"source": {"$prefix": "/v/100%_"}}, "clip0 clip1 clip2 text"),
        ({"source": "/v/100x_a.pdf"}, "page"),
        ({"metadata.n": 1}, "clip1"),
        ({"metadata.n": "1"}, "page"),
        ({"metadata.n": [1, 2, "1"]}, "clip1 clip2 page"),
        ({"metadata.n": {"$ne": 1}}, "clip0 clip2 page text"),
        ({"metadata.n": {"$gt": 0}}, "clip1 clip2"),
        ({"metadata.n": None}, "text"),
        ({"metadata.name": ["page", *MANY]}, "page"),
        ({"metadata.name": {"$nin": ["page", *MANY]}}, "clip0 clip1 clip2 text"),
        ({"metadata.name": {"$any": ["clip1", *MANY[:9]]}}, "clip1"),
        ({"metadata.at.city": {"$prefix": "Ro"}}, "page"),
        ({"metadata.ok": True}, "page"),
        ({"metadata.n": [*range(1, 3_000), "1"]}, "clip1 clip2 page"),
        ({"metadata.n": [0.0, 1.0, 2.5, True, "x"]}, "clip0 clip1"),
        ({"metadata.n": {"$nin": [2.0, 3, 4, 5, "1"]}}, "clip0 clip1 text"),
        ({"$or": [{"metadata.n": i} for i in range(1, 300)]}, "clip1 clip2"),
        ({"$and": [{"metadata.n": {"$ne": i}} for i in range(2, 300)]}, "clip0 clip1 page text"),
        (nested({"metadata.n": 1}), "clip1"),
        ('kind == "clip" and not (start_s < 3)', "clip1 clip2"),
        ('metadata["n"] == 2 or page == 7', "clip2 page"),
    ],
)
def test_milvus_finds_what_the_filter_means(travel, flushed, filter, found):
    if flushed:
        travel.flush()
    hits = travel.search_vector([1.0, 0.0], 10, filter=filter)
    assert sorted(hit.metadata["name"] for hit in hits) == found.split()


@pytest.mark.parametrize(
    "raw", ["foo == 1", "page =", "{x}", "kind == 3", "vector == 1", "page", "(" * 3000 + "true" + ")" * 3000]
)
@pytest.mark.parametrize("search", ["search_vector", pytest.param("search_bm25", marks=pytest.mark.needs("bm25"))])
def test_an_expression_that_milvus_does_not_understand_is_an_input_error_of_one_line(travel, raw, search):
    query = [1.0, 0.0] if search == "search_vector" else "word"
    with pytest.raises(InputError, match="Milvus does not understand the filter") as caught:
        getattr(travel, search)(query, 3, filter=raw)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """An index of a chunk whose metadata hold a value, and of another chunk that must not be found."""
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.types import EmbedderInfo, Source

    with (
        new_database(tmp_path_factory.mktemp("shelf")) as uri,
        MilvusIndex.open(uri, EmbedderInfo("none", "0", 2, "")) as index,
    ):
        for name in ("other", "mine"):
            source = Source(f"/{name}", "text", 1, 1, name)
            index.begin(source)
            index.add([Chunk(source, "text", metadata={"value": "something else"})], [[1.0, 0.0]])
            index.complete(source)
        yield index


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=nasty)
def test_every_text_matches_itself_and_nothing_else(shelf, value):
    source = shelf.sources()["/mine"]
    chunk = Chunk(source, "text", metadata={"value": value})
    shelf.begin(source)
    shelf.add([chunk], [[1.0, 0.0]])
    shelf.complete(source)
    hits = shelf.search_vector([1.0, 0.0], 5, filter={"metadata.value": value})
    assert [(hit.id, hit.metadata["value"]) for hit in hits] == [(chunk.id, clean(value))]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id=nasty)
def test_no_id_reaches_a_row_that_is_not_its_own(shelf, id):
    assert shelf.get([id]) == []
    assert [hit.source for hit in shelf.search_vector([1.0, 0.0], 5, filter={"id": id})] == []
    with pytest.raises(InputError):
        shelf.vectors([id])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(uri=nasty)
def test_deleting_a_source_deletes_no_other(shelf, uri):
    if not clean(uri):
        return
    assert shelf.delete_sources([uri]) == 0
    assert len(shelf.search_vector([1.0, 0.0], 5)) == 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=nasty, more=nasty)
def test_a_source_of_any_name_is_stored_found_by_its_prefix_and_deleted(shelf, name, more):
    from florence_rag.types import Source

    source = Source(f"/z/{name}{more}".replace("\0", ""), "text", 1, 1, "h")
    prefix = f"/z/{name}".replace("\0", "")
    shelf.begin(source)
    shelf.add([Chunk(source, "text")], [[0.0, 1.0]])
    shelf.complete(source)
    try:
        assert shelf.sources()[source.uri] == source
        for filter in ({"source": source.uri}, {"source": {"$prefix": prefix}}):
            assert [hit.source for hit in shelf.search_vector([0.0, 1.0], 5, filter=filter)] == [source.uri]
    finally:
        assert shelf.delete_sources([source.uri]) == 1
