"""One collection of texts, images and parts of files returns the same results to both frameworks."""

import base64
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from pydantic import BaseModel

import langchain_florence
import llama_index_florence
from florence_rag import FlorenceRAG
from florence_rag.embedding.base import embed_queries
from florence_rag.errors import BatchError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.json_values import to_json_value
from florence_rag.testing import ColorEmbedder
from tests.databases import new_database

QUERIES = ["a blue wall", "green next to yellow", "the red bus leaves at nine", "purple"]


class Found(NamedTuple):
    """One result: its id, its score and its citation."""

    id: str
    score: float
    citation: tuple[Any, ...]


def cited(rag, ids, scores):
    hits = rag.get(ids)
    citations = [(hit.kind, hit.source, str(hit.locator), hit.content) for hit in hits]
    return [Found(*each) for each in zip(ids, scores, citations, strict=True)]


class LangChain:
    def __init__(self, rag):
        self.rag = rag
        self.store = langchain_florence.FlorenceVectorStore(rag)

    def fill(self, folder):
        self.store.add_texts(["a blue wall", "a red wall"], [{"city": "Oslo"}, {"city": "Rome"}], ids=["t1", "t2"])
        self.store.add_images([folder / "red.png"], [{"city": "Oslo"}], ids=["p1"], captions=["a wall"])
        self.store.add_images([(folder / "blue.png").read_bytes()], [{"city": "Rome"}], ids=["p2"])
        self.store.add_documents(langchain_florence.FlorenceLoader(folder / "walk.mp4", folder / "notes.txt").load())

    def search(self, text, k=6, city=None):
        found = self.store.similarity_search_with_score(text, k, **({"filter": {"city": city}} if city else {}))
        return cited(self.rag, [document.id for document, _ in found], [score for _, score in found])

    def diverse(self, text):
        found = self.store.max_marginal_relevance_search(text, 3, fetch_k=12, lambda_mult=0.3)
        return [document.id for document in found]

    def hybrid(self, text):
        found = langchain_florence.FlorenceRetriever(rag=self.rag, k=6).invoke(text)
        return cited(self.rag, [one.id for one in found], [one.metadata["score"] for one in found])


class LlamaIndex:
    def __init__(self, rag):
        self.rag = rag
        self.store = llama_index_florence.FlorenceVectorStore(rag)

    def fill(self, folder):
        reader = llama_index_florence.FlorenceReader()
        self.store.add(
            [
                TextNode(id_="t1", text="a blue wall", metadata={"city": "Oslo"}),
                TextNode(id_="t2", text="a red wall", metadata={"city": "Rome"}),
                ImageNode(id_="p1", image_path=str(folder / "red.png"), text="a wall", metadata={"city": "Oslo"}),
                ImageNode(id_="p2", image=image_of(folder / "blue.png"), metadata={"city": "Rome"}),
                *reader.load_data(folder / "walk.mp4", folder / "notes.txt"),
            ]
        )

    def ask(self, text, k=6, **options):
        vector = embed_queries(self.rag.models.embedder, [text])[0].tolist()
        return self.store.query(VectorStoreQuery(query_embedding=vector, query_str=text, similarity_top_k=k, **options))

    def search(self, text, k=6, city=None):
        filters = MetadataFilters(filters=[MetadataFilter(key="city", value=city)]) if city else None
        found = self.ask(text, k, filters=filters)
        return cited(self.rag, found.ids, found.similarities)

    def diverse(self, text):
        return self.ask(text, 3, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.3).ids

    def hybrid(self, text):
        found = self.ask(text, 6, mode=VectorStoreQueryMode.HYBRID)
        return cited(self.rag, found.ids, found.similarities)


def image_of(path):
    return base64.b64encode(path.read_bytes()).decode()


FRAMEWORKS = {"langchain": LangChain, "llama_index": LlamaIndex}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def filled(request, folder, tmp_path_factory):
    """A collection that one of the frameworks filled."""
    path = tmp_path_factory.mktemp(request.param)
    with new_database(path) as uri, MilvusIndex.open(uri, ColorEmbedder.info) as index:
        rag = FlorenceRAG(index, ColorEmbedder(), images=path / "images")
        FRAMEWORKS[request.param](rag).fill(folder)
        yield rag


@pytest.mark.parametrize("query", QUERIES)
def test_ids_scores_and_citations_are_equal(filled, query):
    left, right = LangChain(filled), LlamaIndex(filled)
    assert left.search(query) == right.search(query)
    assert left.hybrid(query) == right.hybrid(query)
    assert left.diverse(query) == right.diverse(query)
    assert len(left.search(query)) == 6


def test_filters_narrow_alike(filled):
    left, right = LangChain(filled), LlamaIndex(filled)
    assert left.search("red", city="Oslo") == right.search("red", city="Oslo")
    assert [found.id for found in left.search("red", city="Oslo")] == ["p1", "t1"]


@pytest.fixture(scope="module")
def each(folder, tmp_path_factory):
    """Two collections, one filled by each framework."""
    path = tmp_path_factory.mktemp("each")
    rags = {
        name: FlorenceRAG(
            MilvusIndex.open(str(path / f"{name}.db"), ColorEmbedder.info), ColorEmbedder(), images=path / name
        )
        for name in FRAMEWORKS
    }
    for name, framework in FRAMEWORKS.items():
        framework(rags[name]).fill(folder)
    yield rags
    for rag in rags.values():
        rag.close()


@pytest.mark.parametrize("query", QUERIES)
def test_both_fill_a_collection_alike(each, query):
    left, right = LangChain(each["langchain"]), LlamaIndex(each["llama_index"])
    assert left.search(query) == right.search(query)
    assert left.hybrid(query) == right.hybrid(query)


def test_a_loader_and_a_reader_give_the_same_parts_the_same_ids(folder):
    documents = langchain_florence.FlorenceLoader(folder).load()
    nodes = llama_index_florence.FlorenceReader().load_data(folder)
    assert [(one.id, one.metadata) for one in documents] == [(one.id_, one.metadata) for one in nodes]


def test_each_reads_what_the_other_wrote(filled):
    documents = langchain_florence.FlorenceVectorStore(filled).get_by_ids(["t1", "p1"])
    nodes = llama_index_florence.FlorenceVectorStore(filled).get_nodes(["t1", "p1"])
    assert [one.page_content for one in documents] == ["a blue wall", "a wall"]
    assert nodes[0].get_content() == "a blue wall"
    assert nodes[1].get_content().endswith("a wall")
    assert [one.metadata["city"] for one in documents] == [one.metadata["city"] for one in nodes] == ["Oslo", "Oslo"]
    assert isinstance(nodes[1], ImageNode) and nodes[1].resolve_image()


def test_each_deletes_what_the_other_wrote(folder, tmp_path):
    with MilvusIndex.open(str(tmp_path / "items.db"), ColorEmbedder.info) as index:
        rag = FlorenceRAG(index, ColorEmbedder())
        left, right = LangChain(rag).store, LlamaIndex(rag).store
        left.add_documents([Document(id="l", page_content="red")])
        right.add([TextNode(id_="r", text="red")])
        right.delete_nodes(["l"])
        assert [one.node_id for one in right.get_nodes()] == ["r"]
        left.delete(["r"])
        assert right.get_nodes() == []


def test_a_database_on_disk_is_opened_by_one_after_the_other(untrained, folder, tmp_path):
    with FlorenceRAG.open(tmp_path / "items.db", untrained, ocr="never") as rag:
        LangChain(rag).fill(folder)
        written = [LangChain(rag).search(query) for query in QUERIES]
    with FlorenceRAG.open(tmp_path / "items.db", ocr="never") as rag:
        assert [LlamaIndex(rag).search(query) for query in QUERIES] == written


class Camera(BaseModel):
    make: str = "X"
    bought: date = date(2024, 5, 6)


VALUES = {
    "time": datetime(2024, 5, 6, 7, tzinfo=timezone(timedelta(hours=2))),
    "date": date(2024, 5, 6),
    "delta": timedelta(seconds=3),
    "path": PurePosixPath("/a/b.jpg"),
    "uuid": UUID(int=1),
    "decimal": Decimal("19.99"),
    "array": np.arange(3),
    "scalar": np.float32(1.5),
    "camera": Camera(),
    "bytes": b"\xff",
    "set": {"b", "a"},
    "keys": {1: "a", None: [True]},
    "nan": float("nan"),
    "x.y": {"z": [1, {"c": None}]},
    "": "empty",
}


@pytest.fixture(scope="module")
def valued(tmp_path_factory):
    """A collection with the same values as metadata of a document and of a node."""
    with new_database(tmp_path_factory.mktemp("db")) as uri, MilvusIndex.open(uri, ColorEmbedder.info) as index:
        rag = FlorenceRAG(index, ColorEmbedder())
        source = RelatedNodeInfo(node_id="doc", metadata={"array": np.arange(3)})
        langchain_florence.FlorenceVectorStore(rag).add_documents([Document("red", id="lc", metadata=VALUES)])
        llama_index_florence.FlorenceVectorStore(rag).add(
            [TextNode(text="red", id_="li", metadata=VALUES, relationships={NodeRelationship.SOURCE: source})]
        )
        yield rag


def test_metadata_come_back_equal_from_both(valued):
    (document,) = langchain_florence.FlorenceVectorStore(valued).get_by_ids(["lc"])
    (node,) = llama_index_florence.FlorenceVectorStore(valued).get_nodes(["li"])
    assert document.metadata == node.metadata == to_json_value(VALUES)
    assert node.source_node.metadata == {"array": [0, 1, 2]}


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("nan", "array", "set")])
def test_a_filter_finds_every_value_by_itself(valued, name):
    ids = {"lc", "li"}
    assert {hit.id for hit in valued.search("red", filter={name: {"$eq": VALUES[name]}})} == ids
    assert {hit.id for hit in valued.search("red", filter={f"metadata.{name}": {"$ne": VALUES[name]}})} == set()
    filter = {"$and": [{name: {"$in": [VALUES[name]]}}, {"id": "lc"}]}
    assert [each.id for each in langchain_florence.FlorenceRetriever(valued, filter=filter).invoke("red")] == ["lc"]
    found = llama_index_florence.FlorenceRetriever(valued, filter=filter).retrieve("red")
    assert [each.node_id for each in found] == ["lc"]


def test_a_bad_document_or_node_does_not_cost_its_batch(tmp_path):
    with MilvusIndex.open(str(tmp_path / "bad.db"), ColorEmbedder.info) as index:
        rag = FlorenceRAG(index, ColorEmbedder())
        langchain, llama_index = (each.FlorenceVectorStore(rag) for each in (langchain_florence, llama_index_florence))
        documents = [
            Document("red", id=id, metadata={"a": object()} if id == "l2" else {}) for id in ("l1", "l2", "l3")
        ]
        with pytest.raises(BatchError, match=r"1 of 3 items were not stored: items\[1\]") as caught:
            langchain.add_documents(documents)
        assert caught.value.stored == ["l1", "l3"]
        index_of_documents = langchain_florence.FlorenceDocumentIndex(store=langchain)
        assert index_of_documents.upsert(documents) == {"succeeded": ["l1", "l3"], "failed": ["l2"]}
        assert index_of_documents.upsert(documents[1:2]) == {"succeeded": [], "failed": ["l2"]}
        nodes = [
            TextNode(id_="n1", text="red"),
            TextNode(id_="n2", text="red", metadata={"a": object()}),
            ImageNode(id_="n3", image="no image", embedding=[0.0]),
            TextNode(id_="n4", text="blue", metadata={"kind": np.arange(2), "locator": {}, "item_image": {}}),
        ]
        with pytest.raises(BatchError, match="2 of 4 items were not stored"):
            llama_index.add(nodes)
        assert sorted(rag.items.ids()) == ["l1", "l3", "n1", "n4"]
