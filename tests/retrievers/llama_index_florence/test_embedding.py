import base64
import io
import pickle

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import ImageDocument, ImageNode, TextNode

from florence_rag.errors import InputError, ModelError
from florence_rag.testing import ColorEmbedder
from llama_index_florence import FlorenceEmbedding


@pytest.fixture
def model():
    return FlorenceEmbedding(embedder=ColorEmbedder())


def test_it_is_a_multimodal_embedding_of_its_model(model):
    assert isinstance(model, MultiModalEmbedding)
    assert model.model_name == "colors"
    assert model.to_dict()["fingerprint"] == "11-colors"


def test_an_open_file_is_an_image(model, folder, blue_vector):
    assert np.allclose(model.get_image_embedding(io.BytesIO((folder / "blue.png").read_bytes())), blue_vector)


async def test_batches_are_embedded_whole_and_in_order(model, folder):
    model.embed_batch_size = 2
    texts = ["red", "blue", "green", "pink", "gray"]
    assert model.get_text_embedding_batch(texts) == [model.get_text_embedding(text) for text in texts]
    assert await model.aget_text_embedding_batch(texts) == model.get_text_embedding_batch(texts)
    images = [str(folder / name) for name in ("red.png", "blue.png", "green-green-yellow.png")]
    assert await model.aget_image_embedding_batch(images) == model.get_image_embedding_batch(images)
    assert model.get_image_embedding_batch(images) == [model.get_image_embedding(image) for image in images]


def test_a_url_is_not_fetched(model):
    with pytest.raises(InputError, match="not fetched"):
        model.get_image_embedding("http://127.0.0.1/a.png")


def test_an_index_of_llama_index_works_with_it(model):
    index = VectorStoreIndex.from_documents(
        [Document(text="a red wall"), Document(text="a blue wall")], embed_model=model
    )
    assert index.as_retriever(similarity_top_k=1).retrieve("blue")[0].text == "a blue wall"


def test_it_is_a_transformation_of_an_ingestion_pipeline(model, blue_vector):
    nodes = IngestionPipeline(transformations=[model]).run(documents=[Document(text="blue")])
    assert np.allclose(nodes[0].embedding, blue_vector)


def test_as_a_transformation_it_embeds_images_by_their_pixels(model, folder, blue_vector):
    path = str(folder / "blue.png")
    encoded = base64.b64encode((folder / "blue.png").read_bytes()).decode()
    nodes = [
        ImageNode(image_path=path, text="red"),
        TextNode(text="red"),
        ImageDocument(image_path=path, text="red"),
        ImageNode(image=encoded),
        ImageNode(text="blue"),
    ]
    done = IngestionPipeline(transformations=[model], disable_cache=True).run(nodes=nodes)
    assert done == nodes
    vectors = np.array([node.embedding for node in done])
    assert np.allclose(vectors[[0, 2, 3, 4]], blue_vector)
    assert np.allclose(vectors[1], model.get_text_embedding("red"))


async def test_the_transformation_does_the_same_asynchronously(model, folder, blue_vector):
    nodes = [TextNode(text="red"), ImageNode(image_path=str(folder / "blue.png"), text="red")]
    done = await IngestionPipeline(transformations=[model], disable_cache=True).arun(nodes=nodes)
    assert np.allclose(done[1].embedding, blue_vector)
    assert not np.allclose(done[0].embedding, blue_vector)


def test_a_batch_is_embedded_in_one_call(folder):
    class Counting(ColorEmbedder):
        calls = 0

        def embed_images(self, frames):
            self.calls += 1
            return super().embed_images(frames)

    embedder = Counting()
    FlorenceEmbedding(embedder=embedder).get_image_embedding_batch([str(folder / "blue.png")] * 20)
    assert embedder.calls == 1


def test_it_recognizes_its_own_vectors(model, folder):
    of_text, of_image = (
        model.get_text_embedding("red"),
        model.get_image_embedding(str(folder / "green-green-yellow.png")),
    )
    assert model.modality_of(TextNode(text="red", embedding=of_text).embedding) == "text"
    assert (model.modality_of(of_image), model.modality_of([1.0, 2.0])) == ("image", None)


def test_the_cache_of_vectors_is_limited(model, monkeypatch):
    monkeypatch.setattr("llama_index_florence.embedding._CACHE_SIZE", 2)
    first, *rest = model.get_text_embedding_batch(["red", "blue", "green"])
    assert [model.modality_of(vector) for vector in (first, *rest)] == [None, "text", "text"]


def test_the_methods_of_the_base_class_agree(model):
    """LlamaIndex calls these methods in its indices, retrievers and evaluators."""
    one = model.get_text_embedding("blue")
    assert isinstance(one, list) and isinstance(one[0], float)
    assert model.get_query_embedding("blue") == one
    assert model.get_agg_embedding_from_queries(["blue", "blue"]) == pytest.approx(one)
    assert model.similarity(one, one) == pytest.approx(1)
    assert model.get_text_embedding_batch([]) == model.get_image_embedding_batch([]) == []
    assert "fingerprint" not in model.to_payload()


def test_settings_of_the_base_class_are_taken():
    model = FlorenceEmbedding(embedder=ColorEmbedder(), embed_batch_size=7, num_workers=2)
    assert (model.embed_batch_size, model.num_workers) == (7, 2)
    with pytest.raises(ValueError):
        FlorenceEmbedding(embedder=ColorEmbedder(), embed_batch_size=0)


def test_it_fills_a_multimodal_index_of_llama_index(model, folder):
    # LlamaIndex leaves out nodes that have neither text nor metadata.
    images = [ImageNode(image_path=str(folder / f"{name}.png"), metadata={"no": 1}) for name in ("red", "blue")]
    index = MultiModalVectorStoreIndex([*images, TextNode(text="green")], embed_model=model, image_embed_model=model)
    retriever = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1)
    assert retriever.text_to_image_retrieve("blue")[0].node.image_path.endswith("blue.png")
    assert retriever.image_to_image_retrieve(str(folder / "red.png"))[0].node.image_path.endswith("red.png")


def test_it_survives_pickling(model, blue_vector):
    copy = pickle.loads(pickle.dumps(model))
    assert copy.get_text_embedding("blue") == pytest.approx(blue_vector)


def test_an_unknown_model_is_an_error():
    with pytest.raises(ModelError, match="no-such-model"):
        FlorenceEmbedding("no-such-model")
