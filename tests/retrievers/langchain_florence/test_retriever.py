import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from langchain_core.runnables import RunnablePassthrough
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from langchain_florence import FlorenceRetriever


class TestIntegrationSuite(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _open(self, rag):
        self.rag = rag

    @property
    def retriever_constructor(self):
        return FlorenceRetriever

    @property
    def retriever_constructor_params(self):
        return {"rag": self.rag, "k": 5}

    @property
    def retriever_query_example(self):
        return "a red bus"


def test_every_setting_can_be_given_for_one_call(rag, folder):
    retriever = FlorenceRetriever(rag=rag, k=1, kinds={"image"})
    assert len(retriever.invoke("red", k=3)) == 3
    assert [d.metadata["kind"] for d in retriever.invoke("bus", kinds={"text"})] == ["text"]
    source = str(folder / "blue.png")
    assert [d.metadata["source"] for d in retriever.invoke("red", filter={"source": source})] == [source]
    assert retriever.invoke("red", kinds={"clip"}, group=True)[0].metadata["moments"]


async def test_every_setting_can_be_given_for_one_async_call(rag, folder):
    retriever = FlorenceRetriever(rag=rag)
    documents = await retriever.ainvoke("", image=folder / "blue.png", k=2, kinds={"image"})
    assert documents == retriever.invoke("", image=folder / "blue.png", k=2, kinds={"image"})
    assert documents[0].metadata["source"] == str(folder / "blue.png")


def test_a_picture_can_be_bytes(rag, folder):
    documents = FlorenceRetriever(rag=rag, k=1, kinds={"image"}).invoke("", image=(folder / "blue.png").read_bytes())
    assert documents[0].metadata["source"] == str(folder / "blue.png")


def test_a_misspelt_setting_of_a_call_is_an_error(rag):
    with pytest.raises(TypeError, match="top_k"):
        FlorenceRetriever(rag=rag).invoke("red", top_k=3)


@pytest.mark.parametrize("settings", [{"k": 0}, {"kinds": {"photo"}}, {"rag": "photos.db"}, {"top_k": 3}])
def test_a_setting_that_cannot_work_is_an_error(rag, settings):
    with pytest.raises(ValidationError):
        FlorenceRetriever(**{"rag": rag, **settings})


def test_it_is_a_runnable(rag):
    retriever = FlorenceRetriever(rag=rag, k=2)
    chain = RunnablePassthrough() | retriever | (lambda documents: [d.id for d in documents])
    assert chain.invoke("red") == [d.id for d in retriever.invoke("red")]
    assert [len(documents) for documents in retriever.batch(["red", "blue"])] == [2, 2]
    assert len(retriever.bind(k=4).invoke("red")) == 4


def test_callbacks_see_the_documents(rag):
    class Seen(BaseCallbackHandler):
        def on_retriever_end(self, documents, **_):
            self.documents = documents

    seen = Seen()
    documents = FlorenceRetriever(rag=rag, k=2).invoke("red", {"callbacks": [seen]})
    assert seen.documents == documents


def test_what_is_written_down_holds_no_index(rag):
    retriever = FlorenceRetriever(rag=rag, kinds={"image"})
    assert "rag" not in retriever.model_dump()
    assert "rag" not in repr(retriever)
    assert "FlorenceRetriever" in dumps(retriever)
