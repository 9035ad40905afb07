import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.literals import literal, one_of, starts_with
from florence_rag.index.text_codec import clean
from florence_rag.types import Chunk

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
    """Where a value is stored and found again, as metadata of one chunk beside a chunk that must stay unfound."""
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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=nasty)
def test_every_text_is_found_again_and_finds_nothing_else(shelf, value):
    source = shelf.sources()["/mine"]
    chunk = Chunk(source, "text", metadata={"value": value})
    shelf.begin(source)
    shelf.add([chunk], [[1.0, 0.0]])
    shelf.complete(source)
    hits = shelf.search_vector([1.0, 0.0], 5, filter={"metadata.value": value})
    assert [(hit.id, hit.metadata["value"]) for hit in hits] == [(chunk.id, clean(value))]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id=nasty)
def test_no_id_reaches_a_row_that_is_not_its_own(shelf, id):
    assert shelf.get([id]) == []
    assert [hit.source for hit in shelf.search_vector([1.0, 0.0], 5, filter={"id": id})] == []
    with pytest.raises(InputError):
        shelf.vectors([id])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(uri=nasty)
def test_deleting_a_source_deletes_no_other(shelf, uri):
    if not clean(uri):
        return
    assert shelf.delete_sources([uri]) == 0
    assert len(shelf.search_vector([1.0, 0.0], 5)) == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
