import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.filters import expression, literal, one_of, starts_with
from florence_rag.index.text_codec import clean
from florence_rag.types import Chunk, Locator

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


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, ""),
        ("", ""),
        ({}, ""),
        ({"kind": "clip"}, '(kind == "clip")'),
        ({"kind": ["clip", "page"]}, '(kind in ["clip", "page"])'),
        ({"id": {"$in": ("a", "b")}}, '(id in ["a", "b"])'),
        ({"id": {"$prefix": "a/"}}, '(id >= "a/" and id < "a0")'),
        (
            {"source": "/a"},
            '((source == "/a") or (source >= "item:" and source < "item;" and (metadata["source"] == "/a")))',
        ),
        ({"start_s": {"$gte": 3, "$lt": 9.5}}, "(start_s >= 3.0) and (start_s < 9.5)"),
        ({"page": 2, "id": "x"}, '(page == 2) and (id == "x")'),
        ({"page": None}, "(page is null)"),
        ({"page": {"$ne": None}}, "(page is not null)"),
        ({"page": {"$ne": 2}}, "(page is not null and page != 2)"),
        ({"metadata.city": "Rome"}, '(metadata["city"] == "Rome")'),
        ({"metadata.exif.iso": {"$lte": 400}}, '(metadata["exif"]["iso"] <= 400)'),
        ({"metadata.n": [1, 2]}, '(metadata["n"] == 1 or metadata["n"] == 2)'),
        ({"metadata.n": None}, '(not (exists metadata["n"]))'),
        ({"metadata.n": {"$ne": 1}}, '((exists metadata["n"]) and metadata["n"] != 1)'),
        ({"metadata.on": True}, '(metadata["on"] == true)'),
        ("page > 2 or page < 1", "(page > 2 or page < 1)"),
        (r'caption == "\") or (" or page == 1', r'(caption == "\") or (" or page == 1)'),
    ],
)
def test_a_filter_is_written_as_milvus_reads_it(filter, expected):
    assert expression(filter) == expected


def test_source_can_match_the_uri_alone():
    assert expression({"source": ["/a", "/b"]}, match_item_source=False) == '(source in ["/a", "/b"])'
    assert expression({"source": {"$prefix": "/a/"}}, match_item_source=False) == '(source >= "/a/" and source < "/a0")'


def test_kinds_are_joined_to_a_filter_that_cannot_widen_them():
    assert expression("page > 2 or true", {"page", "clip"}) == '(kind in ["clip", "page"]) and (page > 2 or true)'


@pytest.mark.parametrize(
    "raw", ["page > 2) or (true", "page > 2)", "(page > 2", 'caption == "a', "caption == 'a\\'", ")("]
)
def test_an_expression_cannot_break_out_of_its_parentheses(raw):
    with pytest.raises(InputError, match="without its partner"):
        expression(raw, {"clip"})


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ({"foo": 1}, "'foo' is unknown; allowed are id, kind, source, page, start_s, end_s and metadata.KEY"),
        ({3: 1}, "3 is unknown"),
        ({"vector": 1}, "unknown"),
        ({"metadata": 1}, "unknown"),
        ({"metadata.": 1}, "key that no filter can name"),
        ({'metadata.a"]': 1}, "key that no filter can name"),
        ({"metadata.a\\": 1}, "key that no filter can name"),
        ({"metadata.a\n": 1}, "key that no filter can name"),
        ({"kind": "photo"}, "kind 'photo' is unknown; kinds are image, page, clip, text"),
        ({"kind": {"$prefix": "image"}}, "needs a text field"),
        ({"source": 3}, "with text, not with 3"),
        ({"page": "2"}, "whole number, not with '2'"),
        ({"page": 2.5}, "whole number, not with 2.5"),
        ({"page": True}, "whole number, not with True"),
        ({"start_s": "2"}, "number of seconds, not with '2'"),
        ({"start_s": float("nan")}, "finite number"),
        ({"start_s": {"$prefix": 2}}, "needs a text field"),
        ({"metadata.a": b"x"}, "truth value, not with b'x'"),
        ({"metadata.a": {"$like": "x"}}, r"'\$like' of 'metadata.a' is unknown; use \$eq, \$ne"),
        ({"metadata.a": {}}, "has no condition"),
        ({"metadata.a": {"$in": []}}, "needs a list of values"),
        ({"metadata.a": {"$in": "ab"}}, "needs a list of values"),
        ({"page": {"$gt": None}}, "whole number, not with None"),
        (3, "a mapping or an expression, not 3"),
    ],
)
def test_an_invalid_filter_is_refused_with_the_alternatives(filter, says):
    with pytest.raises(InputError, match=says):
        expression(filter)


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
    path = tmp_path_factory.mktemp("travel") / "travel.db"
    with MilvusIndex.open(str(path), EmbedderInfo("none", "0", 2, "")) as index:
        for one in (video, other):
            index.begin(one)
        index.add(made, [[1.0, 0.0]] * len(made))
        for one in (video, other):
            index.complete(one)
        yield index


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
        ({"page": {"$ne": 6}}, "page"),
        ({"source": {"$prefix": "/v/100%_"}}, "clip0 clip1 clip2 text"),
        ({"source": "/v/100x_a.pdf"}, "page"),
        ({"metadata.n": 1}, "clip1"),
        ({"metadata.n": "1"}, "page"),
        ({"metadata.n": [1, 2, "1"]}, "clip1 clip2 page"),
        ({"metadata.n": {"$ne": 1}}, "clip0 clip2 page"),
        ({"metadata.n": {"$gt": 0}}, "clip1 clip2"),
        ({"metadata.n": None}, "text"),
        ({"metadata.at.city": {"$prefix": "Ro"}}, "page"),
        ({"metadata.ok": True}, "page"),
        ('kind == "clip" and not (start_s < 3)', "clip1 clip2"),
        ('metadata["n"] == 2 or page == 7', "clip2 page"),
    ],
)
def test_milvus_lite_finds_what_the_filter_means(travel, flushed, filter, found):
    if flushed:
        travel.flush()
    hits = travel.search_vector([1.0, 0.0], 10, filter=filter)
    assert sorted(hit.metadata["name"] for hit in hits) == found.split()


@pytest.mark.parametrize(
    "raw", ["foo == 1", "page =", "{x}", "kind == 3", "vector == 1", "page", "(" * 3000 + "true" + ")" * 3000]
)
@pytest.mark.parametrize("search", ["search_vector", "search_bm25"])
def test_an_expression_that_milvus_does_not_understand_is_an_input_error_of_one_line(travel, raw, search):
    query = [1.0, 0.0] if search == "search_vector" else "word"
    with pytest.raises(InputError, match="Milvus does not understand the filter") as caught:
        getattr(travel, search)(query, 3, filter=raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", '"a"'),
        ('a"b\\c\n', r'"a\"b\\c\n"'),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (-2.5, "-2.5"),
        (1e-7, "1e-07"),
        (-(2**63), "-9223372036854775808"),
    ],
)
def test_values_are_written_as_milvus_reads_them(value, written):
    assert literal(value) == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63])
def test_numbers_that_milvus_cannot_read_are_refused(value):
    with pytest.raises(InputError, match="a filter cannot compare with"):
        literal(value)


def test_one_of_and_starts_with():
    assert one_of("id", ["a", 'b"']) == r'id in ["a", "b\""]'
    assert starts_with("source", "/a_%") == 'source >= "/a_%" and source < "/a_&"'
    assert starts_with("source", "\ud7ff") == 'source >= "\ud7ff" and source < "\ue000"'
    assert starts_with("source", "a\U0010ffff") == 'source >= "a\U0010ffff" and source < "b"'
    assert starts_with("source", "") == 'source >= ""'


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """An index of a chunk whose metadata hold a value, and of another chunk that must not be found."""
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.types import EmbedderInfo, Source

    path = tmp_path_factory.mktemp("shelf") / "shelf.db"
    with MilvusIndex.open(str(path), EmbedderInfo("none", "0", 2, "")) as index:
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


@pytest.mark.parametrize("field", ["source", "kind", "start_s"])
def test_only_metadata_have_lists(field):
    with pytest.raises(InputError, match=r"\$has"):
        expression({field: {"$has": "image" if field != "start_s" else 3}})


def test_servers_and_lite_get_the_same_filter():
    for flat in (False, True):
        assert expression({"metadata.a.b": {"$has": "x"}}, flat=flat) == '(json_contains(metadata["a"]["b"], "x"))'
