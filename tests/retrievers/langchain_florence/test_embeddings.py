import io

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from PIL import Image

from florence_rag.errors import ModelError
from florence_rag.testing import ColorEmbedder, color_frame
from langchain_florence import FlorenceEmbeddings, embeddings


class Model:
    @pytest.fixture(autouse=True)
    def _name(self, untrained):
        self.folder = untrained

    @property
    def embeddings_class(self):
        return FlorenceEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": self.folder}


class TestUnitSuite(Model, EmbeddingsUnitTests): ...


class TestIntegrationSuite(Model, EmbeddingsIntegrationTests): ...


@pytest.fixture
def model():
    return FlorenceEmbeddings(embedder=ColorEmbedder())


def test_every_form_of_a_picture_is_taken(model, folder, blue_vector):
    path = folder / "blue.png"
    data = path.read_bytes()
    forms = [path, str(path), data, io.BytesIO(data), Image.open(path), color_frame("blue")]
    assert np.allclose(model.embed_images(forms), blue_vector)


def test_batches_do_not_change_the_result(model, monkeypatch):
    frames = [color_frame(color) for color in ("red", "blue", "green", "pink", "grey")]
    whole = model.embed_images(frames)
    monkeypatch.setattr(embeddings, "BATCH_SIZE", 2)
    assert model.embed_images(frames) == whole


def test_nothing_embeds_to_nothing(model):
    assert model.embed_documents([]) == model.embed_images([]) == []


def test_a_vector_store_of_langchain_finds_pictures_by_words(model, folder):
    store = InMemoryVectorStore(model)
    store.add_texts(["a red wall", "a blue wall"])
    assert store.similarity_search("blue", k=1)[0].page_content == "a blue wall"
    picture = model.embed_images([folder / "red.png"])[0]
    assert store.similarity_search_by_vector(picture, k=1)[0].page_content == "a red wall"


def test_an_unknown_model_is_an_error():
    with pytest.raises(ModelError, match="no-such-model"):
        FlorenceEmbeddings("no-such-model")


def test_it_prints_its_model(model):
    assert repr(model) == "FlorenceEmbeddings(model='colours')"
