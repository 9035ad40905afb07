import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError, ModelError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, color_frame
from langchain_florence import FlorenceDocumentIndex, FlorenceEmbeddings, FlorenceVectorStore
from tests.databases import new_database

beta = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@pytest.fixture(scope="module")
def fake_store(tmp_path_factory):
    """A store for the embeddings of LangChain's test suite."""
    with (
        new_database(tmp_path_factory.mktemp("fake")) as db,
        FlorenceVectorStore.open(db, VectorStoreIntegrationTests.get_embeddings()) as store,
    ):
        yield store


class TestIntegrationSuite(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, fake_store):
        yield fake_store
        fake_store.delete()


@pytest.fixture(scope="module")
def color_store(tmp_path_factory):
    with (
        new_database(tmp_path_factory.mktemp("colors")) as db,
        FlorenceVectorStore.open(
            db, FlorenceEmbeddings(embedder=ColorEmbedder()), images=tmp_path_factory.mktemp("images")
        ) as store,
    ):
        yield store


@pytest.fixture
def store(color_store):
    yield color_store
    color_store.delete()


@pytest.fixture
def walls(store, folder):
    store.add_images([folder / "red.png", folder / "blue.png"], [{"city": "Rome"}, {"city": "Oslo"}], ids=["r", "b"])
    store.add_texts(["the blue sea", "green grass"], [{"city": "Oslo"}, {"page": 3}], ids=["sea", "grass"])
    return store


def ids(documents):
    return [document.id for document in documents]


# Images


@pytest.mark.slow
def test_images_and_texts_are_found_by_either(walls, folder):
    assert set(ids(walls.similarity_search("blue", k=2))) == {"b", "sea"}
    assert set(ids(walls.similarity_search_by_image(folder / "blue.png", k=2))) == {"b", "sea"}
    assert ids(walls.similarity_search("blue", k=1, kinds={"image"})) == ["b"]


def test_an_image_is_returned_with_its_locator_and_metadata(walls, folder):
    (document,) = walls.get_by_ids(["r"])
    assert document.page_content == '[image] "red.png"'
    assert document.metadata["source"] == str(folder / "red.png")
    assert (document.metadata["city"], document.metadata["kind"]) == ("Rome", "image")


@pytest.mark.parametrize("form", ["path", "bytes", "pil", "array"])
def test_every_form_of_an_image_is_added_and_searched_by(store, folder, form):
    path = folder / "blue.png"
    pixels = color_frame("blue")
    image = {"path": path, "bytes": path.read_bytes(), "pil": Image.fromarray(pixels), "array": pixels}[form]
    store.add_images([color_frame("red"), image], captions=["a wall", None], ids=["1", "2"])
    assert ids(store.similarity_search_by_image(image, k=1)) == ["2"]
    assert store.get_by_ids(["1"])[0].page_content == "a wall"
    assert np.array_equal(store.rag.frames(store.rag.get(["2"])[0])[0], pixels)


def test_a_document_of_an_image_can_be_added_elsewhere(walls, tmp_path):
    documents = walls.get_by_ids(["r", "sea"])
    other = FlorenceVectorStore.from_documents(
        documents, FlorenceEmbeddings(embedder=ColorEmbedder()), db=tmp_path / "b.db"
    )
    with other:
        assert ids(other.similarity_search("red", k=1)) == ["r"]
        assert other.similarity_search_with_score("red", k=1)[0][1] == pytest.approx(1.0, abs=1e-5)


# Scores


def test_scores_are_cosines_and_relevance_lies_between_0_and_1(walls):
    scored = walls.similarity_search_with_score("blue", k=4)
    assert [round(score, 4) for _, score in scored] == [1.0, 1.0, 0.0, 0.0]
    relevant = walls.similarity_search_with_relevance_scores("blue", k=4)
    assert [score > 0.9 for _, score in relevant] == [True, True, False, False]
    assert len(walls.similarity_search_with_relevance_scores("blue", k=4, score_threshold=0.9)) == 2


def test_opposite_vectors_have_no_relevance(tmp_path):
    class Signs(DeterministicFakeEmbedding):
        def embed_documents(self, texts):
            return [[-1.0, 0.0, 0.0] for _ in texts]

        def embed_query(self, text):
            return [1.0, 0.0, 0.0]

    with FlorenceVectorStore.from_texts(["x"], Signs(size=3), db=tmp_path / "s.db") as store:
        ((document, relevance),) = store.similarity_search_with_relevance_scores("y")
        assert document == store.similarity_search("y")[0] and relevance < 0.2


def test_search_by_vector_is_search_by_text(walls):
    vector = walls.embeddings.embed_query("blue")
    assert walls.similarity_search_by_vector(vector, k=3) == walls.similarity_search("blue", k=3)
    assert walls.similarity_search_with_score_by_vector(vector, k=3) == walls.similarity_search_with_score("blue", k=3)


def test_mmr_skips_repetitions(store):
    store.add_texts(["red", "red red", "red blue"], ids=["1", "2", "3"])
    assert ids(store.max_marginal_relevance_search("red", k=2, lambda_mult=0.3)) == ["1", "3"]
    assert ids(store.max_marginal_relevance_search("red", k=2, lambda_mult=1.0)) == ["1", "2"]
    assert len(store.max_marginal_relevance_search("red", k=3, fetch_k=1)) == 3
    vector = store.embeddings.embed_query("red")
    by_vector = store.max_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.3)
    assert ids(by_vector) == ["1", "3"]


# Filters


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"city": "Oslo"}, {"b", "sea"}),
        ({"city": {"$in": ["Rome"]}}, {"r"}),
        ({"page": 3}, {"grass"}),
        ({"metadata.page": {"$gte": 4}}, set()),
        ({"kind": "image", "city": "Oslo"}, {"b"}),
        ({"chunk.source": {"$prefix": "item:"}}, {"b", "r", "sea", "grass"}),
        ({"source": {"$prefix": "item:"}}, {"sea", "grass"}),
        ({"$or": [{"city": "Rome"}, {"page": {"$exists": True}}]}, {"r", "grass"}),
        ({"city": {"$nin": ["Oslo", "Rome"]}, "kind": "text"}, {"grass"}),
        ('kind == "text"', {"sea", "grass"}),
    ],
)
def test_filters_name_metadata(walls, filter, found):
    assert set(ids(walls.similarity_search("blue", k=9, filter=filter))) == found


def test_the_source_of_documents_is_filtered(walls, folder):
    walls.add_texts(["blue notes"], [{"source": "a.pdf"}], ids=["n"])
    assert ids(walls.similarity_search("blue", filter={"source": "a.pdf"})) == ["n"]
    assert ids(walls.similarity_search("blue", filter={"source": str(folder / "red.png")})) == ["r"]


def test_a_retriever_of_langchain_passes_settings_on(walls):
    retriever = walls.as_retriever(search_type="mmr", search_kwargs={"k": 2, "filter": {"city": "Oslo"}})
    assert set(ids(retriever.invoke("blue"))) == {"b", "sea"}


# Ids


def test_documents_with_and_without_ids_are_mixed(store):
    documents = [Document("red", id="1"), Document("blue")]
    added = store.add_documents(documents)
    assert added[0] == "1" and len(added[1]) == 32
    assert store.add_documents(documents) == added
    assert store.add_documents(documents, ids=["x", "y"]) == ["x", "y"]
    assert len(store.similarity_search("red", k=9)) == 4


def test_deleting_without_ids_empties_the_store_but_for_files(tmp_path, folder):
    rag = FlorenceRAG(MilvusIndex.open(str(tmp_path / "f.db"), ColorEmbedder.info), ColorEmbedder())
    with FlorenceVectorStore(rag) as store:
        rag.add(folder / "red.png")
        store.add_texts(["red"])
        assert store.delete() is True
        (document,) = store.similarity_search("red", k=9)
        assert document.metadata["source"] == str(folder / "red.png")
        with pytest.raises(InputError, match="part of the file"):
            store.delete([document.id])


def test_as_many_ids_as_documents_are_needed(store):
    with pytest.raises(InputError, match="one value for each of the 2 items"):
        store.add_documents([Document("red"), Document("blue")], ids=["1"])


# Making one


def test_a_store_is_created_from_texts_and_opened_again(tmp_path):
    embeddings = DeterministicFakeEmbedding(size=6)
    with FlorenceVectorStore.from_texts(["a", "b"], embeddings, [{}, {"n": 1}], ids=["1", "2"], db=tmp_path / "t.db"):
        pass
    with FlorenceVectorStore.open(tmp_path / "t.db", embeddings) as store:
        assert store.similarity_search("b", k=1) == [Document("b", id="2", metadata={"n": 1})]
        assert store.embeddings is embeddings
    with pytest.raises(StoreMismatchError, match="DeterministicFakeEmbedding"):
        FlorenceVectorStore.open(tmp_path / "t.db", DeterministicFakeEmbedding(size=7))


def test_a_database_must_be_named():
    with pytest.raises(InputError, match=r"db=\"notes\.db\""):
        FlorenceVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=6))


async def test_a_store_is_created_async(tmp_path):
    documents = [Document("red", id="1")]
    embeddings = FlorenceEmbeddings(embedder=ColorEmbedder())
    with await FlorenceVectorStore.afrom_documents(documents, embeddings, db=tmp_path / "a.db") as store:
        assert await store.aget_by_ids(["1"]) == documents
    with await FlorenceVectorStore.afrom_texts(["blue"], embeddings, ids=["2"], db=tmp_path / "b.db") as store:
        assert await store.asimilarity_search("blue") == [Document("blue", id="2")]


# Async


@pytest.mark.parametrize(
    "call",
    [
        lambda store, path: store.asimilarity_search("red"),
        lambda store, path: store.asimilarity_search_with_score("red"),
        lambda store, path: store.asimilarity_search_with_relevance_scores("red"),
        lambda store, path: store.asimilarity_search_by_image(path),
        lambda store, path: store.asimilarity_search_by_image_with_score(path),
        lambda store, path: store.amax_marginal_relevance_search("red"),
        lambda store, path: store.aadd_documents([Document("gray")]),
        lambda store, path: store.aadd_texts(["gray"]),
        lambda store, path: store.aadd_images([path]),
    ],
    ids="search score relevance image image_score mmr documents texts images".split(),
)
async def test_the_event_loop_stays_free(color_store, slow_embedder, gate, folder, call):
    store = FlorenceVectorStore(FlorenceRAG(color_store.rag.index, slow_embedder))
    await gate.open_while(call(store, folder / "red.png"))
    color_store.delete()


# DocumentIndex


@pytest.fixture
def document_index(fake_store):
    yield FlorenceDocumentIndex(store=fake_store)
    fake_store.delete()


@beta
class TestDocumentIndexSuite(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self, document_index):
        return document_index


@beta
class TestAsyncDocumentIndexSuite(AsyncDocumentIndexTestSuite):
    @pytest.fixture
    async def index(self, document_index):
        return document_index


@beta
def test_a_document_index_retrieves(document_index):
    document_index.store.add_texts(["foo", "bar"], ids=["1", "2"])
    assert [document.id for document in document_index.invoke("bar", k=1)] == ["2"]
    assert len(document_index.invoke("bar")) == 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda store: store.similarity_search("a", expr='city == "Rome"'),
            'write filter={"city": "Rome"}, or a Milvus',
        ),
        (lambda store: store.as_retriever(search_kwargs={"where": {}}).invoke("a"), 'write filter={"city": "Rome"}'),
        (lambda store: store.delete(expr="pk > 0"), "no argument 'expr'"),
        (lambda store: store.add_images(uris=["a.png"]), r"write add_images\(\[...\]\)"),
        (lambda store: type(store).from_texts(["a"], None, connection_args={"uri": "a.db"}), 'write db="notes.db"'),
        (lambda store: type(store).open("a.db", None, collection_name="a"), 'write collection="notes"'),
        (lambda store: store.similarity_search("a", top_k=3), "no argument 'top_k' here"),
    ],
)
def test_arguments_of_other_stores_are_answered(walls, call, says):
    with pytest.raises(TypeError, match=says):
        call(walls)
    assert len(walls.rag.items.ids()) > 1  # an unknown argument of delete deletes nothing


def test_a_database_that_records_its_model_needs_no_embeddings(tmp_path, monkeypatch):
    db = str(tmp_path / "a.db")
    with FlorenceRAG.open(db, "florence-tiny") as rag:
        rag.items.upsert_texts(["a red wall"], ids=["r"])
    with FlorenceVectorStore.open(db) as store:
        assert ids(store.similarity_search("red")) == ["r"]
    with pytest.raises(StoreUnavailableError, match="or name the embeddings"):
        FlorenceVectorStore.open(tmp_path / "missing.db")
    other = tmp_path / "other.db"
    FlorenceVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=8), db=other).close()
    with pytest.raises(ModelError, match=r"DeterministicFakeEmbedding.*or name the embeddings"):
        FlorenceVectorStore.open(other)
