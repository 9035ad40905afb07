from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.lite.metadata import check_names, flat_path, with_flat_metadata
from florence_rag.index.row_codec import RowCodec
from florence_rag.types import Chunk, Source


def test_every_value_lies_under_its_path():
    row = with_flat_metadata(
        {"id": "a", "metadata": {"city": "Rome", "camera": {"make": "X", "lens": {"mm": 50}}, "n": 1}}
    )
    assert row == {
        "id": "a",
        "metadata": {"city": "Rome", "camera": {"make": "X", "lens": {"mm": 50}}, "n": 1},
        "metadata.city": "Rome",
        "metadata.camera": [],
        "metadata.camera.make": "X",
        "metadata.camera.lens": [],
        "metadata.camera.lens.mm": 50,
        "metadata.n": 1,
    }


def test_a_key_with_a_dot_comes_before_a_nested_one():
    assert with_flat_metadata({"metadata": {"a.b": 1, "a": {"b": 2}}})["metadata.a.b"] == 1
    assert with_flat_metadata({"metadata": {"a": {"b": 2}, "a.b": 1}})["metadata.a.b"] == 1


def test_a_filter_calls_a_value_by_its_path():
    assert flat_path("camera.make") == '$meta["metadata.camera.make"]'


@pytest.mark.parametrize(
    "expression",
    [
        'kind == "image" and not (page > 3 or start_s <= 1e5)',
        'metadata[\'city\'] in ["a"] OR exists metadata["foo bar"]',
        'array_contains(metadata["x"], 1) and text like "foo == %"',
        'caption == "it says \\"foo\\" and bar" and page is not null',
        '$meta["metadata.city"] == "x" and true',
        "",
    ],
)
def test_known_fields_are_accepted(expression):
    check_names(expression)


@pytest.mark.parametrize(
    "expression", ["foo == 1", 'kind == "a" and citty == "b"', "json_contains(tags, 1) or pages > 1"]
)
def test_an_unknown_field_is_refused(expression):
    with pytest.raises(InputError, match=r"does not understand the filter .* no field '(foo|citty|tags)'; use id"):
        check_names(expression)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "b", "1", ""]), st.sampled_from([0.5, 1.0])
)
METADATA = st.dictionaries(
    st.sampled_from("xyz"),
    VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from("xy"), VALUES, max_size=2),
    max_size=3,
)
CONDITIONS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from(["a", "b", "1", ""]),
    st.builds(lambda value: {"$ne": value}, st.sampled_from(["a", 1, True, 0.5])),
    st.builds(lambda value: {"$gte": value}, st.sampled_from([0, 0.5])),
    st.just({"$prefix": "a"}),
    st.just(["a", 1]),
)


@pytest.fixture
def flat_and_nested(open_index):
    """Indexes of the same rows, with and without flat metadata."""
    flat, nested = open_index(collection="flat"), open_index(collection="nested")
    nested.chunks = replace(nested.chunks, codec=RowCodec())
    return flat, nested


def test_flat_metadata_find_what_nested_metadata_find(flat_and_nested, unit):
    @settings(max_examples=40)
    @given(st.lists(METADATA, min_size=1, max_size=5), st.sampled_from(["x", "y", "x.y", "z.x"]), CONDITIONS)
    def compare(all_metadata, key, condition):
        found = []
        for index in flat_and_nested:
            index.delete_sources(index.sources())
            for i, metadata in enumerate(all_metadata):
                source = Source(f"/{i}", "image", 1, 1, str(i))
                index.begin(source)
                index.add([Chunk(source, "image", metadata=metadata)], unit(seed=i))
                index.complete(source)
            hits = index.search_vector(unit()[0], 10, filter={f"metadata.{key}": condition})
            found.append([hit.source for hit in hits])
        assert found[0] == found[1]

    compare()


def test_an_older_index_without_flat_metadata_is_still_filtered(flat_and_nested, put, unit):
    for index in flat_and_nested:
        put(index, "/a.jpg", metadata={"city": "Rome"})
        put(index, "/b.jpg", metadata={"city": "Oslo"})
        assert [hit.source for hit in index.search_vector(unit()[0], 5, filter={"metadata.city": "Rome"})] == ["/a.jpg"]
        assert [hit.source for hit in index.find(filter={"metadata.city": "Oslo"})] == ["/b.jpg"]
