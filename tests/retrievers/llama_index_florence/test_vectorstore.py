import base64
import math

import pytest
from llama_index.core import Document, SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    ImageDocument,
    ImageNode,
    IndexNode,
    NodeRelationship,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.errors import InputError, MediaError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, ColorVQA, color_frame
from llama_index_florence import FlorenceEmbedding, FlorenceReader, FlorenceRetriever, FlorenceVectorStore
from llama_index_florence._convert import FencedTextNode, image_fields
from tests.databases import new_database


class CountingEmbedder(ColorEmbedder):
    def __init__(self):
        self.texts = self.images = 0

    def embed_texts(self, texts):
        self.texts += len(texts)
        return super().embed_texts(texts)

    def embed_images(self, frames):
        self.images += len(frames)
        return super().embed_images(frames)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with new_database(tmp_path_factory.mktemp("db")) as uri, MilvusIndex.open(uri, ColorEmbedder.info) as index:
        yield index


@pytest.fixture
def embedder():
    return CountingEmbedder()


@pytest.fixture
def own(index, embedder, tmp_path):
    """An index that is empty."""
    yield FlorenceRAG(index, Models.of(embedder, vqa=ColorVQA()), images=tmp_path / "kept")
    index.delete_sources(index.sources())


@pytest.fixture
def store(own):
    return FlorenceVectorStore(own)


@pytest.fixture
def model(store):
    return store.embed_model


def text(id, content="", *, of=None, **metadata):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)} if of else {}
    return TextNode(id_=id, text=content or id, metadata=metadata, relationships=source)


def image_node(id, color="", **fields):
    return ImageNode(id_=id, image=image_fields(color_frame(color or id))["image"], **fields)


def by_vector(store, words, k=3, **options):
    vector = ColorEmbedder().embed_texts([words])[0].tolist()
    return store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=k, **options))


def ids(nodes):
    return sorted(node.node_id for node in nodes)


# What comes back


def test_it_is_a_vector_store_that_stores_texts(store):
    assert isinstance(store, BasePydanticVectorStore)
    assert (store.stores_text, store.is_embedding_query) == (True, True)
    assert isinstance(store.client, FlorenceRAG)


def test_nodes_are_found_by_vector(store):
    assert store.add([text("red"), text("blue"), text("green")]) == ["red", "blue", "green"]
    found = by_vector(store, "blue", k=2)
    assert found.ids[0] == found.nodes[0].node_id == "blue"
    assert found.similarities[0] == pytest.approx(1) and found.similarities[1] == pytest.approx(0)


def test_a_text_node_is_returned_unchanged(store):
    node = TextNode(
        id_="a node/1",
        text="red\nand more",
        metadata={"city": "Oslo", "nested": {"a": [1, 2.5, None]}, "page": 3, "id": "mine", "score": "high", "": 1},
        excluded_llm_metadata_keys=["city"],
        excluded_embed_metadata_keys=["page"],
        metadata_template="{key}={value}",
        metadata_separator=";",
        text_template="{metadata_str}|{content}",
        start_char_idx=3,
        end_char_idx=9,
        mimetype="text/markdown",
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"file": "a.txt"}, hash="x"),
            NodeRelationship.NEXT: RelatedNodeInfo(node_id="next"),
            NodeRelationship.CHILD: [RelatedNodeInfo(node_id="child")],
        },
    )
    store.add([node])
    assert [found.to_dict() for found in store.get_nodes([node.node_id])] == [node.to_dict()]
    assert store.get_nodes([node.node_id])[0].hash == node.hash
    assert list(store.get_nodes([node.node_id])[0].metadata) == list(node.metadata)


def test_an_image_node_is_returned_with_its_image(store, model):
    node = image_node("p", "blue", text="a wall", metadata={"city": "Oslo"})
    store.add([node])
    (found,) = store.get_nodes(["p"])
    assert isinstance(found, ImageNode)
    assert (found.text, found.metadata) == ("a wall", {"city": "Oslo"})
    assert model.get_image_embedding(found.resolve_image()) == pytest.approx(model.get_text_embedding("blue"), abs=0.05)


def test_a_path_is_returned_as_a_path(store, folder, own):
    path = str(folder / "blue.png")
    store.add([ImageNode(id_="n", image_path=path), ImageDocument(id_="d", image_path=path, text="words")])
    nodes = store.get_nodes(["n", "d"])
    assert [(type(node).class_name(), node.image_path, node.image, node.text) for node in nodes] == [
        ("ImageNode", path, None, ""),
        ("ImageNode", path, None, "words"),
    ]
    assert not (own.get(["n"])[0].metadata.keys() & nodes[0].metadata.keys())


def test_images_can_be_omitted(own):
    store = FlorenceVectorStore(own, images=False)
    store.add([image_node("p", "blue", text="a wall")])
    assert type(store.get_nodes(["p"])[0]) is FencedTextNode


def test_a_path_whose_file_is_gone_is_returned_as_text(store, tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(color_frame("red")).save(path)
    store.add([ImageNode(id_="n", image_path=str(path), text="a wall")])
    path.unlink()
    assert [(type(node), node.text) for node in by_vector(store, "red").nodes] == [(FencedTextNode, "a wall")]


def test_a_document_is_returned_as_a_node(store):
    store.add([Document(id_="d", text="red", metadata={"a": 1})])
    assert [(node.text, node.metadata, node.ref_doc_id) for node in store.get_nodes(["d"])] == [("red", {"a": 1}, None)]


def test_an_index_node_is_returned_as_one(store):
    store.add([IndexNode(id_="i", text="red", index_id="other", obj={"a": 1})])
    (node,) = store.get_nodes(["i"])
    assert isinstance(node, IndexNode)
    assert (node.index_id, node.text) == ("other", "red")


def test_what_is_added_again_is_replaced(store):
    store.add([text("n", "red", a=1)])
    store.add([text("n", "blue", b=2)])
    assert [(node.text, node.metadata) for node in store.get_nodes()] == [("blue", {"b": 2})]


# Vectors


def test_images_are_embedded_by_their_pixels_even_if_llama_index_embeds_their_text(store, model):
    """VectorStoreIndex embeds the text of an ImageNode."""
    context = StorageContext.from_defaults(vector_store=store)
    VectorStoreIndex([image_node("p", "blue", text="red")], storage_context=context, embed_model=model)
    assert by_vector(store, "blue").similarities == [pytest.approx(1, abs=0.01)]


def test_vectors_of_its_own_embedding_are_reused(store, model, embedder):
    pipeline = IngestionPipeline(transformations=[model], vector_store=store)
    pipeline.run(nodes=[text("red"), image_node("p", "blue"), image_node("q", "green")])
    assert (embedder.texts, embedder.images) == (1, 2)
    assert by_vector(store, "green", k=1).ids == ["q"]


def test_a_vector_of_another_model_is_not_used(store, embedder):
    another = FlorenceEmbedding(embedder=ColorEmbedder()).get_text_embedding("blue")
    store.add([TextNode(id_="a", text="red", embedding=[1.0, 2.0]), TextNode(id_="b", text="red", embedding=another)])
    assert by_vector(store, "red").similarities == pytest.approx([1, 1])


def test_an_embedding_of_another_model_is_refused(own, untrained):
    with pytest.raises(InputError, match="filled by 'colors'"):
        FlorenceVectorStore(own, embed_model=FlorenceEmbedding(untrained))
    model = FlorenceEmbedding(rag=own)
    assert FlorenceVectorStore(own, embed_model=model).embed_model is model


def test_a_mean_of_queries_is_a_query(store, model):
    """LlamaIndex averages the vectors of several query strings, and the mean is shorter than one."""
    store.add([text("red"), text("blue")])
    retriever = VectorStoreIndex.from_vector_store(store, embed_model=model).as_retriever(similarity_top_k=2)
    found = retriever.retrieve(QueryBundle("", custom_embedding_strs=["red", "blue"]))
    assert [node.score for node in found] == pytest.approx([math.sqrt(0.5)] * 2, abs=1e-5)


# Deleting


def test_a_document_is_deleted_with_all_its_nodes(store, own):
    store.add([text("1", "red", of="doc"), text("2", "blue", of="doc"), text("3", "red", of="other")])
    store.delete("doc")
    assert ids(store.get_nodes()) == ["3"]
    store.delete("unknown")
    assert own.info().sources == 1


def test_a_node_without_a_document_is_its_own(store):
    store.add([text("1", "red"), text("2", "red")])
    store.delete("1")
    assert ids(store.get_nodes()) == ["2"]


def test_nodes_are_deleted_by_id_and_filter(store):
    store.add([text(str(i), "red", even=i % 2 == 0) for i in range(6)])
    store.delete_nodes(["0", "unknown"])
    store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="id", value="1")]))
    store.delete_nodes(["2", "3"], filters=MetadataFilters(filters=[MetadataFilter(key="id", value="3")]))
    store.delete_nodes([])
    assert ids(store.get_nodes()) == ["2", "4", "5"]
    with pytest.raises(InputError, match=r"clear\(\)"):
        store.delete_nodes()


def test_clear_deletes_nodes_and_keeps_files(store, own, folder):
    own.add(folder / "red.png")
    store.add([text("1", "red"), image_node("p", "blue")])
    store.clear()
    assert [node.metadata["source"] for node in store.get_nodes()] == [str(folder / "red.png")]


# Getting


def test_nodes_come_in_the_order_of_their_ids(store):
    store.add([text("1"), text("2"), text("3")])
    assert [node.node_id for node in store.get_nodes(["3", "unknown", "1"])] == ["3", "1"]
    assert store.get_nodes([]) == []


def test_files_are_found_together_with_nodes(store, own, folder):
    own.add(folder)
    store.add([text("red")])
    found = by_vector(store, "red", k=9)
    kinds = [node.metadata.get("kind") for node in found.nodes]
    assert "red" in found.ids and {"clip", "image"} <= set(kinds)
    retrieved = {one.node_id: one.node for one in FlorenceRetriever(own, k=99).retrieve("red")}
    for node in found.nodes:
        if node.node_id != "red":
            assert node.get_content() == retrieved[node.node_id].get_content()
            assert node.metadata["source"] == retrieved[node.node_id].metadata["source"]


# Queries


def test_ids_and_documents_narrow(store, own, folder):
    own.add(folder / "red.png")
    store.add([text("1", "red", of="doc"), text("2", "blue", of="doc"), text("3", "red")])
    assert by_vector(store, "red", node_ids=["2", "3"]).ids == ["3", "2"]
    assert by_vector(store, "red", doc_ids=["doc"]).ids == ["1", "2"]
    assert by_vector(store, "red", doc_ids=["3"]).ids == ["3"]
    assert len(by_vector(store, "red", doc_ids=[str(folder / "red.png")]).ids) == 1
    assert by_vector(store, "red", doc_ids=["doc"], node_ids=["2"]).ids == ["2"]
    assert len(by_vector(store, "red", k=9, doc_ids=[], node_ids=[]).ids) == 4


@pytest.mark.needs("bm25")
def test_texts_are_found_by_terms(store):
    store.add([text("1", "the quick fox"), text("2", "a lazy dog")])
    for mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH):
        found = store.query(VectorStoreQuery(query_str="dogs", mode=mode, similarity_top_k=5))
        assert found.ids == ["2"] and found.similarities[0] > 0


def test_hybrid_is_the_search_of_the_index(store, own):
    store.add([text("1", "the red fox"), text("2", "blue", tag="x"), image_node("p", "red")])
    found = store.query(VectorStoreQuery(query_str="a red fox", mode=VectorStoreQueryMode.HYBRID, similarity_top_k=2))
    hits = own.search("a red fox", k=2, group=False)
    assert list(zip(found.ids, found.similarities, strict=True)) == [(hit.id, hit.score) for hit in hits]


def test_mmr_returns_diverse_nodes(store):
    store.add([text("1", "red"), text("2", "red"), text("3", "red blue blue")])
    assert sorted(by_vector(store, "red", k=2).ids) == ["1", "2"]
    found = by_vector(store, "red", k=2, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.1)
    assert "3" in found.ids and len(found.ids) == 2
    assert by_vector(store, "nothing", k=2, mode=VectorStoreQueryMode.MMR, node_ids=["none"]).ids == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (VectorStoreQuery(query_str="red"), "no embedding"),
        (VectorStoreQuery(query_str=" ", mode=VectorStoreQueryMode.HYBRID), "the query is empty"),
        (VectorStoreQuery(query_embedding=[1.0], mode=VectorStoreQueryMode.DEFAULT), "shape"),
        (VectorStoreQuery(query_embedding=[1.0], mode=VectorStoreQueryMode.SVM), "'svm' is not supported; use default"),
        (VectorStoreQuery(query_embedding=[1.0] * 12, similarity_top_k=0), "k "),
    ],
)
def test_a_query_that_cannot_work_is_an_error(store, query, message):
    with pytest.raises(InputError, match=message):
        store.query(query)


# LlamaIndex's own indices


def test_a_vector_store_index_is_created_queried_and_opened_again(store, model):
    context = StorageContext.from_defaults(vector_store=store)
    documents = [Document(id_="r", text="a red wall"), Document(id_="b", text="a blue wall")]
    made = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=model)
    opened = VectorStoreIndex.from_vector_store(store, embed_model=model)
    for one in (made, opened):
        found = one.as_retriever(similarity_top_k=1).retrieve("blue")
        assert [(node.text, node.node.ref_doc_id) for node in found] == [("a blue wall", "b")]
    opened.delete_ref_doc("b")
    assert made.as_retriever(similarity_top_k=5).retrieve("blue")[0].text == "a red wall"
    opened.insert(Document(text="blue"))
    assert made.as_retriever(similarity_top_k=1).retrieve("blue")[0].text == "blue"


async def test_a_vector_store_index_works_asynchronously(store, model):
    index = VectorStoreIndex.from_vector_store(store, embed_model=model)
    await index.ainsert_nodes([text("red", of="doc"), text("blue")])
    assert (await index.as_retriever(similarity_top_k=1).aretrieve("blue"))[0].node_id == "blue"
    await index.adelete_ref_doc("doc")
    await index.adelete_nodes(["unknown"])
    assert ids(await store.aget_nodes()) == ["blue"]
    await store.aclear()
    assert await store.aget_nodes() == []


def test_a_mixed_index_finds_texts_and_images_once_it_is_opened(store, model):
    nodes = [text("red"), image_node("p", "blue", text="a wall")]
    made = VectorStoreIndex(nodes, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=model)
    assert [node.node_id for node in made.as_retriever().retrieve("red")] == ["p"]  # of LlamaIndex
    opened = VectorStoreIndex.from_vector_store(store, embed_model=model)
    assert [node.node_id for node in opened.as_retriever().retrieve("red")] == ["red", "p"]


def multimodal(store, model, nodes):
    context = StorageContext.from_defaults(vector_store=store, image_store=store)
    return MultiModalVectorStoreIndex(nodes, storage_context=context, embed_model=model, image_embed_model=model)


def test_one_store_serves_a_multimodal_index(store, model, folder):
    nodes = [
        text("red"),
        image_node("p", "blue", text="a wall"),
        ImageNode(id_="g", image=image_node("green").image, text="g"),
    ]
    index = multimodal(store, model, nodes)
    retriever = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1)
    assert retriever.text_to_image_retrieve("blue")[0].node_id == "p"
    assert retriever.image_to_image_retrieve(str(folder / "blue.png"))[0].node_id == "p"
    assert retriever.text_retrieve("red")[0].node_id == "red"


def test_two_stores_serve_a_multimodal_index(store, model, folder, tmp_path):
    with MilvusIndex.open(str(tmp_path / "images.db"), ColorEmbedder.info) as index:
        images = FlorenceVectorStore(FlorenceRAG(index, ColorEmbedder(), images=tmp_path / "more"))
        context = StorageContext.from_defaults(vector_store=store, image_store=images)
        made = MultiModalVectorStoreIndex(
            [text("red"), image_node("p", "blue", metadata={"no": 1})],
            storage_context=context,
            embed_model=model,
            image_embed_model=model,
        )
        assert ids(images.get_nodes()) == ["p"] and ids(store.get_nodes()) == ["red"]
        assert {node.node_id for node in made.as_retriever().retrieve("blue")} == {"red", "p"}


async def test_a_multimodal_index_that_is_opened_again_accepts_an_image_query(store, model, folder):
    """llama_index #12842 and #17309."""
    multimodal(store, model, [text("red"), image_node("p", "blue", text="a wall")])
    opened = MultiModalVectorStoreIndex.from_vector_store(
        store, embed_model=model, image_vector_store=store, image_embed_model=model
    )
    retriever = opened.as_retriever(image_similarity_top_k=1)
    found = await retriever.aimage_to_image_retrieve(str(folder / "blue.png"))
    assert isinstance(found[0].node, ImageNode)
    assert model.get_image_embedding(found[0].node.resolve_image()) == pytest.approx(
        model.get_text_embedding("blue"), abs=0.05
    )


def test_images_without_text_reach_a_query_engine(store, model):
    """llama_index #20397."""
    store.add([image_node("p", "blue")])
    engine = VectorStoreIndex.from_vector_store(store, embed_model=model).as_query_engine(llm=MockLLM())
    assert engine.query("blue").source_nodes[0].node_id == "p"


def test_a_folder_is_indexed_through_a_pipeline(store, own, model, tmp_path):
    """The docstore of LlamaIndex finds the changes, and the result equals that of `rag.add`."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(photos / f"{color}.png")
    pipeline = IngestionPipeline(
        transformations=[model],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    assert len(pipeline.run(documents=FlorenceReader().load_data(photos))) == 2
    assert len(pipeline.run(documents=FlorenceReader().load_data(photos))) == 0
    Image.fromarray(color_frame("green")).save(photos / "red.png")
    (photos / "blue.png").unlink()
    assert len(pipeline.run(documents=FlorenceReader().load_data(photos))) == 1
    (node,) = store.get_nodes()
    assert by_vector(store, "green").similarities == [pytest.approx(1)]
    assert own.get([node.node_id])[0].source == str(photos / "red.png")


def test_clips_of_a_reader_are_read_from_their_file(store, own, folder):
    store.add(FlorenceReader().load_data(folder / "walk.mp4"))
    found = by_vector(store, "purple", k=5)
    assert len(found.ids) == 5 and found.similarities[0] == pytest.approx(1, abs=0.05)
    assert len(own.frames(own.get(found.ids[:1])[0])) >= 1
    assert found.nodes[0].metadata["locator"]["start_s"] == pytest.approx(8, abs=0.3)


def test_metadata_that_resemble_ours_are_kept(store):
    lookalikes = [{"given": {"x": 1}, "kind": "text", "locator": {}}, {"given": "by Ann", "kind": "text"}]
    store.add([TextNode(id_=str(i), text="red", metadata=metadata) for i, metadata in enumerate(lookalikes)])
    assert [node.metadata for node in store.get_nodes(["0", "1"])] == lookalikes


def test_clips_are_returned_as_a_reader_returns_them(store, folder):
    clips = FlorenceReader().load_data(folder / "walk.mp4", folder / "notes.txt")
    store.add(clips)
    back = store.get_nodes([clip.id_ for clip in clips])
    assert [(node.node_id, node.get_content(), node.metadata) for node in back] == [
        (clip.id_, clip.text, clip.metadata) for clip in clips
    ]


# Errors


def test_a_url_is_not_fetched(store):
    with pytest.raises(InputError, match="not fetched"):
        store.add([ImageNode(id_="u", image_url="http://127.0.0.1/a.png")])


def test_bytes_that_are_no_image_are_an_error(store):
    with pytest.raises(MediaError):
        store.add([ImageNode(id_="b", image=base64.b64encode(b"no image").decode())])


# Opening


def test_it_is_opened_by_the_path_of_a_database(untrained, tmp_path):
    store = FlorenceVectorStore.from_db(str(tmp_path / "nodes.db"), untrained)
    node = image_node("p", "blue", text="a wall", metadata={"city": "Oslo"})
    store.add([text("red"), node])
    store.persist()
    store.client.close()
    store = FlorenceVectorStore.from_db(str(tmp_path / "nodes.db"))
    try:
        found = store.get_nodes(["p", "red"])
        assert isinstance(found[0], ImageNode) and found[0].metadata == {"city": "Oslo"}
        assert found[1].to_dict() == text("red").to_dict()
    finally:
        store.client.close()


async def test_queries_and_additions_leave_the_loop_free(index, gate, slow_embedder, tmp_path):
    store = FlorenceVectorStore(FlorenceRAG(index, slow_embedder, images=tmp_path))
    assert await gate.open_while(store.async_add([text("red")])) == ["red"]
    found = await store.aquery(VectorStoreQuery(query_str="red", mode=VectorStoreQueryMode.HYBRID))
    assert found.ids == ["red"]
    await store.adelete("red")


@pytest.mark.filterwarnings("ignore:Exception ignored")  # their reader leaves the files open
def test_a_folder_of_photographs_is_read_by_a_simple_directory_reader(store, tmp_path):
    """It decodes TIFF and BMP files as text, which a splitter cuts into pieces."""
    for color, suffix in (("red", "jpg"), ("green", "png"), ("blue", "tiff"), ("yellow", "bmp")):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.{suffix}")
    documents = SimpleDirectoryReader(tmp_path).load_data()
    VectorStoreIndex.from_documents(
        documents,
        StorageContext.from_defaults(vector_store=store),
        embed_model=store.embed_model,
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)],
    )
    stored = store.get_nodes()
    assert sorted(node.metadata["file_name"] for node in stored) == ["blue.tiff", "green.png", "red.jpg", "yellow.bmp"]
    assert all(isinstance(node, ImageNode) and "\0" not in node.text for node in stored)


@pytest.mark.filterwarnings("ignore:Exception ignored")  # as above
def test_no_piece_of_an_image_is_stored_as_text(store, tmp_path):
    """Many pieces of noise are printable; a file may also lack a suffix."""
    noise = Image.effect_noise((120, 90), 90).convert("RGB")
    for name, kind in (("a.bmp", "BMP"), ("b.tiff", "TIFF"), ("c.jfif", "JPEG"), ("d", "PNG")):
        noise.save(tmp_path / name, kind)
    (tmp_path / "e.txt").write_text("BM words")
    (tmp_path / "f").write_text("BM is no image")
    nodes = SentenceSplitter(chunk_size=64, chunk_overlap=5)(SimpleDirectoryReader(tmp_path).load_data())
    assert len(nodes) > 20
    store.add(nodes)
    found = sorted((node.metadata["file_name"], node.text) for node in store.get_nodes())
    assert found == [(name, "") for name in ("a.bmp", "b.tiff", "c.jfif", "d")] + [
        ("e.txt", "BM words"),
        ("f", "BM is no image"),
    ]
