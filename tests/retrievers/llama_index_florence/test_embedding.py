import io
import pickle

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.ingestion import IngestionPipeline

from florence_rag.errors import InputError, ModelError
from florence_rag.testing import ColourEmbedder
from llama_index_florence import FlorenceEmbedding


@pytest.fixture
def model():
    return FlorenceEmbedding(embedder=ColourEmbedder())


def test_it_is_a_multimodal_embedding_of_its_model(model):
    assert isinstance(model, MultiModalEmbedding)
    assert model.model_name == "colours"
    assert model.to_dict()["fingerprint"] == "11-colours"


def test_an_open_file_is_a_picture(model, folder, blue_vector):
    assert np.allclose(model.get_image_embedding(io.BytesIO((folder / "blue.png").read_bytes())), blue_vector)


async def test_batches_are_embedded_whole_and_in_order(model, folder):
    model.embed_batch_size = 2
    texts = ["red", "blue", "green", "pink", "grey"]
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


def test_it_survives_pickling(model, blue_vector):
    copy = pickle.loads(pickle.dumps(model))
    assert copy.get_text_embedding("blue") == pytest.approx(blue_vector)


def test_an_unknown_model_is_an_error():
    with pytest.raises(ModelError, match="no-such-model"):
        FlorenceEmbedding("no-such-model")
