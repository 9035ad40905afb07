import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite

from langchain_florence import FlorenceDocumentIndex, FlorenceVectorStore

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    db = tmp_path_factory.mktemp("index") / "index.db"
    with FlorenceVectorStore.open(db, DeterministicFakeEmbedding(size=6)) as store:
        yield store


@pytest.fixture
def document_index(store):
    yield FlorenceDocumentIndex(store=store)
    store.delete()


class TestSuite(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self, document_index):
        return document_index


class TestAsyncSuite(AsyncDocumentIndexTestSuite):
    @pytest.fixture
    async def index(self, document_index):
        return document_index


def test_it_retrieves(document_index):
    document_index.store.add_texts(["foo", "bar"], ids=["1", "2"])
    assert [document.id for document in document_index.invoke("bar", k=1)] == ["2"]
    assert len(document_index.invoke("bar")) == 2
