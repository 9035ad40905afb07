"""The second field: vectors of the words of chunks, which an index may have."""

import json

import numpy as np
import pytest

from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Source

WORDS = EmbedderInfo("words", "abcdef", 3, "none")
AXES = np.eye(3, dtype=np.float32)


@pytest.fixture
def worded(open_index):
    return open_index(text_embedder=WORDS)


@pytest.fixture
def three(worded, unit):
    """Two captioned pictures, and one between them that says nothing."""
    photos = [Source(f"/{name}.jpg", "image", 1, 1, name) for name in "abc"]
    chunks = [Chunk(photo, "image", caption=words) for photo, words in zip(photos, ("hound", "", "boat"), strict=True)]
    for photo in photos:
        worded.begin(photo)
    worded.add(chunks, unit(3), np.array([AXES[0], np.zeros(3), AXES[1]]))
    for photo in photos:
        worded.complete(photo)
    return chunks


def sources(hits):
    return [hit.source for hit in hits]


@pytest.mark.parametrize("flushed", [False, True])
def test_words_are_found_by_their_vector_and_what_has_none_is_left_out(worded, three, flushed):
    if flushed:
        worded.flush()
    hits = worded.search_text_vector(np.array([0.6, -0.8, 0.0]), 5)
    assert [(hit.source, hit.score) for hit in hits] == [("/a.jpg", 0.6), ("/c.jpg", -0.8)]
    assert hits[0].caption == "hound"
    assert len(worded.search_vector(np.eye(8)[0], 5)) == 3, "pictures without words are still found by their looks"


@pytest.mark.parametrize("index_type", ["FLAT", "HNSW", "IVF_FLAT"])
def test_every_index_type_serves_both_fields_after_a_restart(open_index, source, chunks, unit, index_type):
    one = source()
    with open_index(text_embedder=WORDS, index_type=index_type) as index:
        index.begin(one)
        index.add(chunks(one, 60), unit(60), np.repeat(AXES, 20, axis=0) * ([[1.0], [0.0]] * 30))
        index.complete(one)
    with open_index(text_embedder=WORDS) as index:
        assert len(index.search_text_vector(AXES[1], 60)) == 30
        assert [hit.score for hit in index.search_text_vector(AXES[1], 11)] == [1.0] * 10 + [0.0]
        assert index.info().index_type == index_type


def test_kinds_and_filters_hold_for_words_too(worded, three):
    assert worded.search_text_vector(AXES[0], 5, kinds={"clip"}) == []
    assert sources(worded.search_text_vector(AXES[0], 5, filter={"source": "/c.jpg"})) == ["/c.jpg"]
    either = 'source == "/a.jpg" or source == "/b.jpg"'
    assert sources(worded.search_text_vector(AXES[0], 5, filter=either)) == ["/a.jpg"]


def test_the_vectors_of_words_come_back_by_id_with_zeros_where_there_are_none(worded, three):
    ids = [chunk.id for chunk in reversed(three)]
    np.testing.assert_array_equal(worded.text_vectors(ids), [AXES[1], np.zeros(3), AXES[0]])
    assert worded.text_vectors([]).shape == (0, 3)
    with pytest.raises(InputError, match="no chunk has the id 'x'"):
        worded.text_vectors(["x"])


def test_the_index_says_whose_vectors_it_has(worded, three, open_index, db):
    assert worded.info().text_embedder == WORDS
    assert json.loads(json.dumps(worded.info().to_dict()))["text_embedder"]["name"] == "words"
    worded.close()
    assert MilvusIndex.recorded_embedders(db) == (worded.embedder, WORDS)
    assert MilvusIndex.recorded_embedder(db) == worded.embedder


def test_text_vectors_are_needed_where_they_are_kept_and_refused_elsewhere(worded, open_index, source, chunks, unit):
    one = source()
    worded.begin(one)
    with pytest.raises(InputError, match=r"keeps text vectors; give add text_vectors of the shape \(2, 3\)"):
        worded.add(chunks(one, 2), unit(2))
    for wrong in (AXES[:1], np.ones((2, 3)), np.full((2, 3), np.nan), np.ones((2, 4)) / 2, AXES[0]):
        with pytest.raises(InputError, match="vectors"):
            worded.add(chunks(one, 2), unit(2), wrong)
    worded.complete(one)
    assert worded.info().chunks == {}
    plain = open_index(collection="plain")
    plain.begin(one)
    with pytest.raises(InputError, match="keeps no text vectors, so none can be added"):
        plain.add(chunks(one), unit(), AXES[:1])
    for call in (lambda: plain.search_text_vector(AXES[0], 1), lambda: plain.text_vectors([])):
        with pytest.raises(InputError, match="keeps no text vectors; make a new one with a text_embedder"):
            call()
    assert plain.info().text_embedder is None


def test_another_text_model_or_none_is_refused_with_what_to_do(worded, open_index):
    worded.close()
    other = EmbedderInfo("other", "123", 3, "none")
    with pytest.raises(StoreMismatchError, match=r"has text vectors of words .* not of other .*; open it with"):
        open_index(text_embedder=other)
    with pytest.raises(StoreMismatchError, match=r"has text vectors of words \(abcdef, 3 numbers, none\), not of none"):
        open_index()
    open_index(text_embedder=WORDS)


def test_an_index_without_vectors_of_words_says_so(open_index):
    open_index().close()
    with pytest.raises(StoreMismatchError, match=r"keeps no text vectors, so words .* cannot search it; open it w"):
        open_index(text_embedder=WORDS)
    open_index()


def test_an_index_from_before_there_were_text_models_still_opens(open_index):
    with open_index() as index:
        row = index.chunks.connection.rows_of("florence_ledger", ["settings"], ["id", "state", "body"])["settings"]
        body = {key: value for key, value in json.loads(row["body"]).items() if key in ("embedder", "version")}
        index.chunks.connection.upsert("florence_ledger", [{**row, "body": json.dumps(body), "vector": [0.0, 0.0]}])
    assert open_index().info().text_embedder is None


def test_an_index_that_is_embedded_anew_takes_the_vectors_of_words_along(worded, three, open_index, unit):
    ids = [chunk.id for chunk in three]
    other = EmbedderInfo("other", "fedcba", 4, "none")
    shadow = worded.open_shadow(other)
    for chunk in three:
        shadow.begin(chunk.source)
    shadow.add(three, unit(3, dimension=4), worded.text_vectors(ids))
    for chunk in three:
        shadow.complete(chunk.source)
    worded.switch(shadow)
    worded.close()
    index = open_index(embedder=other, text_embedder=WORDS)
    assert sources(index.search_text_vector(AXES[0], 5)) == ["/a.jpg", "/c.jpg"]
    with pytest.raises(StoreMismatchError, match="has text vectors of words"):
        open_index(embedder=other)
