"""Tests of the text vectors that an index may keep."""

import json

import numpy as np
import pytest

from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Source

pytestmark = pytest.mark.needs("text_vectors")
WORDS = EmbedderInfo("words", "abcdef", 3, "none")
AXES = np.eye(3, dtype=np.float32)


@pytest.fixture
def text_index(open_index):
    return open_index(text_embedder=WORDS)


@pytest.fixture
def three(text_index, unit):
    """Two images with captions, and one without between them."""
    photos = [Source(f"/{name}.jpg", "image", 1, 1, name) for name in "abc"]
    chunks = [Chunk(photo, "image", caption=words) for photo, words in zip(photos, ("hound", "", "boat"), strict=True)]
    for photo in photos:
        text_index.begin(photo)
    text_index.add(chunks, unit(3), np.array([AXES[0], np.zeros(3), AXES[1]]))
    for photo in photos:
        text_index.complete(photo)
    return chunks


def sources(hits):
    return [hit.source for hit in hits]


@pytest.mark.parametrize("flushed", [False, True])
def test_chunks_with_text_are_found_by_their_text_vector_and_others_are_not(text_index, three, flushed):
    if flushed:
        text_index.flush()
    hits = text_index.search_text_vector(np.array([0.6, -0.8, 0.0]), 5)
    assert [(hit.source, hit.score) for hit in hits] == [("/a.jpg", 0.6), ("/c.jpg", -0.8)]
    assert hits[0].caption == "hound"
    assert len(text_index.search_vector(np.eye(8)[0], 5)) == 3, "images without text have vectors, too"


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


def test_kinds_and_filters_restrict_searches_of_text_vectors(text_index, three):
    assert text_index.search_text_vector(AXES[0], 5, kinds={"clip"}) == []
    assert sources(text_index.search_text_vector(AXES[0], 5, filter={"source": "/c.jpg"})) == ["/c.jpg"]
    either = 'source == "/a.jpg" or source == "/b.jpg"'
    assert sources(text_index.search_text_vector(AXES[0], 5, filter=either)) == ["/a.jpg"]


def test_text_vectors_are_returned_by_id_with_zeros_for_chunks_without_text(text_index, three):
    ids = [chunk.id for chunk in reversed(three)]
    np.testing.assert_array_equal(text_index.text_vectors(ids), [AXES[1], np.zeros(3), AXES[0]])
    assert text_index.text_vectors([]).shape == (0, 3)
    with pytest.raises(InputError, match="no chunk has the id 'x'"):
        text_index.text_vectors(["x"])


def test_the_index_names_its_text_embedder(text_index, three, open_index, db):
    assert text_index.info().text_embedder == WORDS
    assert json.loads(json.dumps(text_index.info().to_dict()))["text_embedder"]["name"] == "words"
    text_index.close()
    assert MilvusIndex.recorded_embedders(db) == (text_index.embedder, WORDS)
    assert MilvusIndex.recorded_embedders(db)[0] == text_index.embedder


def test_text_vectors_are_required_by_an_index_that_keeps_them_and_refused_by_others(
    text_index, open_index, source, chunks, unit
):
    one = source()
    text_index.begin(one)
    with pytest.raises(InputError, match=r"has text vectors; give add text_vectors of the shape \(2, 3\)"):
        text_index.add(chunks(one, 2), unit(2))
    for wrong in (AXES[:1], np.ones((2, 3)), np.full((2, 3), np.nan), np.ones((2, 4)) / 2, AXES[0]):
        with pytest.raises(InputError, match="vectors"):
            text_index.add(chunks(one, 2), unit(2), wrong)
    text_index.complete(one)
    assert text_index.info().chunks == {}
    plain = open_index(collection="plain")
    plain.begin(one)
    with pytest.raises(InputError, match="has no text vectors, so none can be added"):
        plain.add(chunks(one), unit(), AXES[:1])
    for call in (lambda: plain.search_text_vector(AXES[0], 1), lambda: plain.text_vectors([])):
        with pytest.raises(InputError, match="has no text vectors; create a new one with a text_embedder"):
            call()
    assert plain.info().text_embedder is None


def test_another_text_embedder_or_none_is_refused_with_the_remedy(text_index, open_index):
    text_index.close()
    other = EmbedderInfo("other", "123", 3, "none")
    with pytest.raises(StoreMismatchError, match=r"has text vectors of words .* not of other .*; open it with"):
        open_index(text_embedder=other)
    with pytest.raises(StoreMismatchError, match=r"text vectors of words \(abcdef, 3 dimensions, none\), not of none"):
        open_index()
    open_index(text_embedder=WORDS)


def test_an_index_without_text_vectors_refuses_searches_of_them(open_index):
    open_index().close()
    with pytest.raises(StoreMismatchError, match=r"has no text vectors, so words .* cannot search it; open it w"):
        open_index(text_embedder=WORDS)
    open_index()


def test_an_older_index_without_settings_of_text_vectors_opens(open_index):
    with open_index() as index:
        row = index.chunks.connection.rows_of("florence_ledger", ["settings"], ["id", "state", "body"])["settings"]
        body = {key: value for key, value in json.loads(row["body"]).items() if key in ("embedder", "version")}
        index.chunks.connection.upsert("florence_ledger", [{**row, "body": json.dumps(body), "vector": [0.0, 0.0]}])
    assert open_index().info().text_embedder is None


def test_a_re_embedded_index_keeps_its_text_vectors(text_index, three, open_index, unit):
    ids = [chunk.id for chunk in three]
    other = EmbedderInfo("other", "fedcba", 4, "none")
    shadow = text_index.open_shadow(other)
    for chunk in three:
        shadow.begin(chunk.source)
    shadow.add(three, unit(3, dimension=4), text_index.text_vectors(ids))
    for chunk in three:
        shadow.complete(chunk.source)
    text_index.switch(shadow)
    text_index.close()
    index = open_index(embedder=other, text_embedder=WORDS)
    assert sources(index.search_text_vector(AXES[0], 5)) == ["/a.jpg", "/c.jpg"]
    with pytest.raises(StoreMismatchError, match="has text vectors of words"):
        open_index(embedder=other)
