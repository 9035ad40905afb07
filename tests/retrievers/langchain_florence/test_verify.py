import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from florence_rag.errors import InputError
from langchain_florence import FlorenceRetriever, FlorenceVerifier


@pytest.fixture
def note(rag):
    (id,) = rag.items.upsert_texts(["The tower of Marlo is 30 metres high."], ids=["note"])
    yield id
    rag.items.delete([id])  # other tests share the index


def test_a_chain_gets_the_claims_of_its_answer(rag, note):
    documents = FlorenceRetriever(rag, kinds={"text"}).invoke("the tower of Marlo", k=1)
    for answer in ("The tower of Marlo is 40 metres high.", AIMessage("The tower of Marlo is 40 metres high.")):
        made = RunnableLambda(
            lambda question, answer=answer: {"input": question, "context": documents, "answer": answer}
        )
        result = (made | FlorenceVerifier(rag)).invoke("How high is the tower?")
        assert result["input"] == "How high is the tower?" and result["answer"] is answer
        (claim,) = result["claims"]
        assert (claim["verdict"], claim["citation"]["id"]) == ("contradicted", note)


async def test_it_runs_async_and_without_documents(rag):
    result = await FlorenceVerifier(rag).ainvoke({"answer": "There is a dog.", "context": []})
    assert result["claims"] == []


def test_a_missing_key_is_named(rag):
    with pytest.raises(InputError, match="the input has no 'context'"):
        FlorenceVerifier(rag).invoke({"answer": "There is a dog."})
