import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnablePassthrough
from langchain_tests.integration_tests import RetrieversIntegrationTests

from florence_rag import QueryPart
from florence_rag.errors import InputError
from florence_rag.viz.thumbnails import from_data_uri
from langchain_florence import FlorenceRetriever, FlorenceVectorStore, documents_to_content


@pytest.fixture(params=["hybrid", "similarity", "mmr"])
def search_type(request):
    return request.param


class TestIntegrationSuite(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _open(self, rag, search_type):
        self.rag = rag
        self.search_type = search_type

    @property
    def retriever_constructor(self):
        return FlorenceRetriever

    @property
    def retriever_constructor_params(self):
        return {"rag": self.rag, "k": 5, "search_type": self.search_type}

    @property
    def retriever_query_example(self):
        return "a red bus"


def test_every_setting_can_be_given_for_one_call(rag, folder):
    retriever = FlorenceRetriever(rag, k=1, kinds={"image"})
    assert len(retriever.invoke("red", k=3)) == 3
    assert [d.metadata["kind"] for d in retriever.invoke("bus", kinds={"text"})] == ["text"]
    source = str(folder / "blue.png")
    assert [d.metadata["source"] for d in retriever.invoke("red", filter={"source": source})] == [source]
    assert retriever.invoke("red", kinds={"clip"}, group=True)[0].metadata["grouped_hits"]


async def test_every_setting_can_be_given_for_one_async_call(rag, folder):
    retriever = FlorenceRetriever(rag=rag)
    documents = await retriever.ainvoke("", image=folder / "blue.png", k=2, kinds={"image"})
    assert documents == retriever.invoke("", image=folder / "blue.png", k=2, kinds={"image"})
    assert documents[0].metadata["source"] == str(folder / "blue.png")


def test_an_image_can_be_bytes(rag, folder):
    documents = FlorenceRetriever(rag=rag, k=1, kinds={"image"}).invoke("", image=(folder / "blue.png").read_bytes())
    assert documents[0].metadata["source"] == str(folder / "blue.png")


def test_further_parts_are_added_to_every_query(rag, folder):
    retriever = FlorenceRetriever(rag=rag, k=1, kinds={"image"}, parts=[QueryPart("red", weight=-1)])
    assert retriever.invoke("red or blue")[0].metadata["source"] == str(folder / "blue.png")
    blue = [QueryPart(image=folder / "blue.png"), "blue"]
    assert retriever.invoke("", parts=blue)[0].metadata["source"] == str(folder / "blue.png")


def test_a_misspelled_setting_of_a_call_is_an_error(rag):
    with pytest.raises(TypeError, match="top_k"):
        FlorenceRetriever(rag=rag).invoke("red", top_k=3)


# Ways to search


def test_every_search_type_accepts_text_image_or_both(rag, folder, search_type):
    retriever = FlorenceRetriever(rag=rag, k=3, kinds={"image"}, search_type=search_type)
    blue = folder / "blue.png"
    for documents in (retriever.invoke("blue"), retriever.invoke("", image=blue), retriever.invoke("blue", image=blue)):
        assert documents[0].metadata["source"] == str(blue)
        assert documents[0].metadata["score"] >= documents[1].metadata["score"]
        assert documents[0].metadata["explanation"]


async def test_every_search_type_works_async_and_for_one_call(rag, search_type):
    documents = await FlorenceRetriever(rag=rag).ainvoke("red", search_type=search_type, k=2)
    assert documents == FlorenceRetriever(rag=rag, search_type=search_type, k=2).invoke("red")


def test_similarity_is_that_of_the_vector_store(rag):
    documents = FlorenceRetriever(rag=rag, k=4, search_type="similarity").invoke("red")
    scored = FlorenceVectorStore(rag).similarity_search_with_score("red", k=4)
    assert [(d.id, d.metadata["score"]) for d in documents] == [(d.id, score) for d, score in scored]


def test_mmr_skips_near_duplicates(rag):
    retriever = FlorenceRetriever(rag=rag, k=2, kinds={"image", "clip"})
    first, second = retriever.invoke("red", search_type="similarity")
    assert first.metadata["score"] == pytest.approx(second.metadata["score"], abs=1e-3)
    first, second = retriever.invoke("red", search_type="mmr", lambda_mult=0.3)
    assert second.metadata["score"] < 0.5
    assert len(retriever.invoke("red", search_type="mmr", fetch_k=1)) == 2


@pytest.mark.parametrize("settings", [{"search_type": "fuzzy"}, {"search_type": "mmr", "group": True}])
def test_settings_that_exclude_each_other_are_an_error(rag, settings):
    with pytest.raises(InputError, match="search_type"):
        FlorenceRetriever(rag=rag).invoke("red", **settings)


# Images for a model


def test_images_are_returned_on_request_as_standard_blocks(rag, search_type):
    retriever = FlorenceRetriever(rag=rag, k=9, images=True, search_type=search_type)
    for document in retriever.invoke("red"):
        blocks = document.metadata["images"]
        assert len(blocks) == (document.metadata["kind"] != "text")
        for block in blocks:
            assert (block["type"], block["mime_type"]) == ("image", "image/jpeg")
            assert from_data_uri(f"data:image/jpeg;base64,{block['base64']}").startswith(b"\xff\xd8")
    assert "images" not in retriever.invoke("red", images=False)[0].metadata


def test_documents_stand_in_a_message(rag):
    documents = FlorenceRetriever(rag=rag, k=9, images=True).invoke("red")
    message = HumanMessage(content_blocks=documents_to_content(documents))
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds[:2] == ["text", "image"]
    assert (kinds.count("text"), kinds.count("image")) == (9, 8)
    rule, number, opening, place, closing = message.content_blocks[0]["text"].splitlines()
    assert number == "[1]" and place.startswith("[")
    assert rule.startswith(f"Text between {opening} and {closing}, ")


@pytest.mark.parametrize(
    "settings", [{"k": 0}, {"kinds": {"photo"}}, {"rag": "photos.db"}, {"top_k": 3}, {"search_type": "fuzzy"}]
)
def test_a_setting_that_cannot_work_is_an_error(rag, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
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


def test_serialization_holds_no_index(rag):
    retriever = FlorenceRetriever(rag=rag, kinds={"image"})
    assert "rag" not in retriever.model_dump()
    assert "rag" not in repr(retriever)
    assert "FlorenceRetriever" in dumps(retriever)
