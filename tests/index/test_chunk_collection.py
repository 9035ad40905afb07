import numpy as np
import pytest

from florence_rag.errors import InputError


@pytest.fixture
def chunks_of_two(index, put):
    """A collection with two chunks of /a and three of /b."""
    put(index, "/a", n=2)
    put(index, "/b", n=3)
    index.flush_buffer()
    return index.chunks


def ids_of(collection, *uris):
    return sorted(row["id"] for row in collection.rows_of_sources(uris, ["id"]))


def test_rows_are_counted_and_read_by_source(chunks_of_two):
    assert chunks_of_two.count(["/a"]) == 2
    assert chunks_of_two.count(["/a", "/b", "/none"]) == 5
    assert chunks_of_two.count([]) == 0
    assert len(ids_of(chunks_of_two, "/b")) == 3
    assert ids_of(chunks_of_two) == []


def test_dropping_a_source_drops_its_rows_only(chunks_of_two):
    kept = ids_of(chunks_of_two, "/b")
    assert chunks_of_two.drop_sources(["/a", "/none"]) == 2
    assert ids_of(chunks_of_two, "/a", "/b") == kept


def test_unknown_ids_are_skipped_or_refused(chunks_of_two):
    (first, *_) = ids_of(chunks_of_two, "/a")
    assert list(chunks_of_two.rows([first, first, "none"], ["id"])) == [first]
    with pytest.raises(InputError, match="no chunk has the id 'none'"):
        chunks_of_two.known_rows([first, "none"], ["id"])
    with pytest.raises(InputError, match="must be a list of strings"):
        chunks_of_two.rows("none", ["id"])


def test_whole_rows_can_be_written_again(index, chunks_of_two):
    ids = ids_of(chunks_of_two, "/a", "/b")
    vectors = index.vectors(ids)
    rows = chunks_of_two.whole_rows(ids)
    assert "bm25" not in rows[0] and "text_vector" not in rows[0]
    np.testing.assert_array_equal([row["vector"] for row in rows], vectors)
    assert sorted(row["id"] for row in chunks_of_two.whole_rows_of_sources(["/a", "/b"])) == ids
    assert index.load_rows(rows) == 5
    assert ids_of(chunks_of_two, "/a", "/b") == ids


def test_a_collection_without_text_vectors_says_so(chunks_of_two):
    assert chunks_of_two.text_dimension is None
    with pytest.raises(InputError, match="the index has no text vectors"):
        chunks_of_two.require_text_dimension()
