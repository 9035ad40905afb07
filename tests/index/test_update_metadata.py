"""Tests of replacing metadata, in Milvus Lite and in the memory index."""

import numpy as np
import pytest

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, MemoryIndex


@pytest.fixture(params=["memory", "lite"])
def rag(request, tmp_path):
    embedder = ColorEmbedder()
    memory = request.param == "memory"
    index = MemoryIndex(embedder.info) if memory else MilvusIndex.open(str(tmp_path / "a.db"), embedder.info)
    with FlorenceRAG(index, embedder) as rag:
        rag.items.upsert_texts(
            ["red", "blue", "green"], ids=["r", "b", "g"], metadatas=[{"city": "Rome"}, {"tags": ["sea"]}, {}]
        )
        yield rag


def found(rag, filter):
    return sorted(hit.id for hit in rag.index.find(filter=filter))


def test_metadata_are_replaced_and_nothing_else(rag):
    before = rag.index.vectors(["r"])
    rag.index.update_metadata({"r": {"tags": ["wine", 'it"s']}, "g": {"tags": []}})
    (hit,) = rag.get(["r"])
    assert hit.metadata == {"tags": ["wine", 'it"s']} and hit.text == "red" and hit.is_item
    assert np.array_equal(rag.index.vectors(["r"]), before) and sum(rag.info().chunks.values()) == 3
    assert rag.search("red", k=1)[0].id == "r"
    assert found(rag, {"metadata.city": "Rome"}) == []


def test_a_filter_finds_values_in_a_list(rag):
    rag.index.update_metadata({"r": {"tags": ["wine", 'it"s', 3]}})
    assert found(rag, {"metadata.tags": {"$has": "wine"}}) == ["r"]
    assert found(rag, {"metadata.tags": {"$has": 'it"s'}}) == ["r"]
    assert found(rag, {"metadata.tags": {"$has": 3}}) == ["r"]
    assert found(rag, {"metadata.tags": {"$has": "win"}}) == []
    assert found(rag, {"metadata.tags": {"$ne": None}}) == ["b", "r"]
    assert [hit.id for hit in rag.search("red", filter={"metadata.tags": {"$has": "sea"}})] == ["b"]


def test_an_unknown_id_replaces_nothing(rag):
    with pytest.raises(InputError, match="id 'x'"):
        rag.index.update_metadata({"r": {"tags": ["wine"]}, "x": {}})
    assert rag.get(["r"])[0].metadata == {"city": "Rome"}


def test_replaced_metadata_persist(tmp_path):
    embedder = ColorEmbedder()
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "a.db"), embedder.info), embedder) as rag:
        rag.items.upsert_texts(["red"], ids=["r"])
        rag.index.update_metadata({"r": {"tags": ["wine"]}})
    with FlorenceRAG(MilvusIndex.open(str(tmp_path / "a.db"), embedder.info), embedder) as rag:
        assert found(rag, {"metadata.tags": {"$has": "wine"}}) == ["r"]
