import io

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from PIL import Image

from florence_rag import Embedder
from florence_rag.embedding.base import QueryEmbedder
from florence_rag.errors import InputError, ModelError
from florence_rag.testing import ColorEmbedder, color_frame
from langchain_florence import FlorenceEmbeddings, FlorenceVectorStore, LangChainEmbedder, embeddings
from langchain_florence.embeddings import embedder_to_embeddings, embeddings_to_embedder


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


class Fake(DeterministicFakeEmbedding):
    model: str = "fake-1"


class Seeing(Fake):
    """Embeds the files at paths as vectors of any length, as integrations do."""

    def embed_image(self, uris):
        colors = ColorEmbedder()
        return [(5 * colors.embed_images([np.asarray(Image.open(uri))])[0]).tolist() for uri in uris]


@pytest.fixture
def model():
    return FlorenceEmbeddings(embedder=ColorEmbedder())


def test_every_form_of_an_image_is_accepted(model, folder, blue_vector):
    path = folder / "blue.png"
    data = path.read_bytes()
    forms = [path, str(path), data, io.BytesIO(data), Image.open(path), color_frame("blue")]
    assert np.allclose(model.embed_images(forms), blue_vector)


def test_batches_do_not_change_the_result(model, monkeypatch):
    frames = [color_frame(color) for color in ("red", "blue", "green", "pink", "gray")]
    whole = model.embed_images(frames)
    monkeypatch.setattr(embeddings, "BATCH_SIZE", 2)
    assert model.embed_images(frames) == whole


def test_no_input_gives_no_vectors(model):
    assert model.embed_documents([]) == model.embed_images([]) == []


def test_a_vector_store_of_langchain_finds_images_by_text(model, folder):
    store = InMemoryVectorStore(model)
    store.add_texts(["a red wall", "a blue wall"])
    assert store.similarity_search("blue", k=1)[0].page_content == "a blue wall"
    image = model.embed_images([folder / "red.png"])[0]
    assert store.similarity_search_by_vector(image, k=1)[0].page_content == "a red wall"


def test_an_unknown_model_is_an_error():
    with pytest.raises(ModelError, match="no-such-model"):
        FlorenceEmbeddings("no-such-model")


def test_it_prints_its_model(model):
    assert repr(model) == "FlorenceEmbeddings(model='colors')"


# LangChainEmbedder


def test_it_is_an_embedder_of_unit_vectors():
    embedder = LangChainEmbedder(Fake(size=6))
    assert isinstance(embedder, Embedder) and isinstance(embedder, QueryEmbedder)
    assert (embedder.info.name, embedder.info.dimension) == ("Fake(fake-1)", 6)
    for rows in (embedder.embed_texts(["a", "b"]), embedder.embed_queries(["a", "b"])):
        assert rows.dtype == np.float32
        assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    assert embedder.embed_texts([]).shape == (0, 6)


def test_images_are_embedded_if_the_embeddings_support_them():
    embedder = LangChainEmbedder(Seeing(size=12))
    frames = [color_frame("red"), color_frame("blue", "green")]
    assert np.allclose(embedder.embed_images(frames), ColorEmbedder().embed_images(frames), atol=1e-6)
    assert embedder.embed_images([]).shape == (0, 12)


def test_images_for_text_embeddings_are_an_error(tmp_path):
    with FlorenceVectorStore.open(tmp_path / "t.db", Fake(size=6)) as store:
        with pytest.raises(InputError, match=r"Fake\(fake-1\) embeds texts only; for images use FlorenceEmbeddings"):
            store.add_images([color_frame("red")])
        with pytest.raises(InputError, match="embeds texts only"):
            store.similarity_search_by_image(color_frame("red"))


def test_a_name_can_be_given():
    assert LangChainEmbedder(Fake(size=6), "ours").info.name == "ours"


def test_own_embeddings_are_unwrapped():
    embedder, fake = ColorEmbedder(), Fake(size=6)
    ours = FlorenceEmbeddings(embedder=embedder)
    assert embeddings_to_embedder(ours) is embedder
    assert embedder_to_embeddings(embedder).embed_query("red") == ours.embed_query("red")
    assert embedder_to_embeddings(embeddings_to_embedder(fake)) is fake
