import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.testing import ColorEmbedder, MemoryIndex, SynonymEmbedder
from florence_rag.types import Chunk, Locator, Source

EMBEDDER = ColorEmbedder()


def test_it_implements_the_protocol():
    assert isinstance(MemoryIndex(EMBEDDER.info), ChunkIndex)


def source(name):
    return Source(f"/{name}", "image", 1, 1, name)


def filled(**texts):
    """Return an index of one complete text chunk for each name."""
    index = MemoryIndex(EMBEDDER.info)
    for name, text in texts.items():
        index.begin(source(name))
        chunk = Chunk(source(name), "text", Locator(start_s=float(len(name))), text=text, metadata={"tag": name[0]})
        index.add([chunk], EMBEDDER.embed_texts([text]))
        index.complete(source(name))
    return index


def names(hits):
    return [hit.source.strip("/") for hit in hits]


def test_it_searches_by_cosine_and_by_words():
    index = filled(a="red and red", b="a blue whale", c="red and blue and a very long sentence about nothing")
    assert names(index.search_vector(EMBEDDER.embed_texts(["red"])[0], 2)) == ["a", "c"]
    assert names(index.search_bm25("blue whales", 3)) == ["b", "c"]
    assert index.search_bm25("green", 3) == []


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"source": "/bb"}, ["bb"]),
        ({"source": ["/a", "/bb"]}, ["a", "bb"]),
        ({"source": {"$prefix": "/c"}}, ["ccc"]),
        ({"start_s": {"$gte": 2, "$lt": 3}}, ["bb"]),
        ({"start_s": {"$gt": 1}, "metadata.tag": "c"}, ["ccc"]),
        ({"metadata.tag": {"$ne": "a"}}, ["bb", "ccc"]),
        ({"metadata.none": None}, ["a", "bb", "ccc"]),
        ({"metadata.none.deep": "x"}, []),
        ({"kind": "image"}, []),
    ],
)
def test_it_filters(filter, found):
    index = filled(a="red", bb="red", ccc="red")
    assert sorted(names(index.search_vector(EMBEDDER.embed_texts(["red"])[0], 9, filter=filter))) == found


def test_it_refuses_filters_that_it_or_milvus_cannot_evaluate():
    with pytest.raises(InputError, match="MemoryIndex cannot evaluate 'start_s > 3'"):
        filled(a="red").search_bm25("red", 1, filter="start_s > 3")
    with pytest.raises(InputError, match=r'filter\["size"\]\["\$near"\] is not an operator'):
        filled(a="red").search_bm25("red", 1, filter={"size": {"$near": 3}})


def test_it_keeps_a_ledger():
    index = filled(a="red", b="blue")
    index.fail("/a", "broken")
    assert list(index.sources()) == ["/b"]
    assert [failure.reason for failure in index.failures()] == ["broken"]
    assert index.info().chunks["text"] == 1
    index.begin(source("a"))
    index.complete(source("a"))
    assert (list(index.sources()), index.failures()) == (["/a", "/b"], ())
    assert index.delete_sources(["/b", "/unknown"]) == 1
    assert list(index.sources()) == ["/a"]


def test_it_returns_chunks_and_vectors_by_id():
    index = filled(a="red", b="blue")
    blue, red = (index.search_bm25(word, 1)[0].id for word in ("blue", "red"))
    assert names(index.get([red, "unknown", blue])) == ["a", "b"]
    np.testing.assert_array_equal(index.vectors([blue]), EMBEDDER.embed_texts(["blue"]))
    with pytest.raises(InputError, match="no chunk has the id 'unknown'"):
        index.vectors(["unknown"])


def test_it_refuses_unannounced_sources_and_invalid_vectors():
    index = MemoryIndex(EMBEDDER.info)
    chunk = Chunk(source("a"), "text", text="red")
    with pytest.raises(InputError, match="not begun: \\['/a'\\]"):
        index.add([chunk], EMBEDDER.embed_texts(["red"]))
    index.begin(source("a"))
    with pytest.raises(InputError, match="vectors must be finite and of unit length"):
        index.add([chunk], np.full((1, EMBEDDER.info.dimension), np.nan))


def test_it_searches_by_the_vectors_of_words():
    embedder = SynonymEmbedder("dog hound", "car automobile")
    index = MemoryIndex(EMBEDDER.info, embedder.info)
    for name, text in {"a": "a hound", "b": "an automobile", "c": ""}.items():
        index.begin(source(name))
        words = embedder.embed_texts([text]) if text else np.zeros((1, embedder.info.dimension))
        index.add([Chunk(source(name), "text", text=text)], EMBEDDER.embed_texts([text]), words)
    assert names(index.search_text_vector(embedder.embed_texts(["dog"])[0], 5)) == ["a", "b"]
    assert index.info().text_embedder == embedder.info
    with pytest.raises(InputError, match="has text vectors; give add text_vectors"):
        index.add([Chunk(source("a"), "text", text="x")], EMBEDDER.embed_texts(["x"]))
    with pytest.raises(InputError, match="has no text vectors"):
        MemoryIndex(EMBEDDER.info).search_text_vector(np.zeros(3), 1)
