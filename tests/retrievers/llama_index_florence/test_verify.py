import pytest
from llama_index.core.base.response.schema import Response

from florence_rag.errors import InputError
from llama_index_florence import FlorenceRetriever, FlorenceVerifier

FALSE = "The tower of Marlo is 40 metres high."
TRUE = "The tower of Marlo is 30 metres high."


@pytest.fixture
def nodes(rag):
    rag.items.upsert_texts([TRUE], ids=["note"])
    yield FlorenceRetriever(rag=rag, k=1, kinds={"text"}).retrieve("the tower of Marlo")
    rag.items.delete(["note"])  # other tests share the index


@pytest.mark.parametrize(
    ("text", "passing", "score"), [(TRUE, True, 1.0), (FALSE, False, 0.0), ("It rains.", True, None)]
)
def test_a_response_is_compared_with_its_nodes(rag, nodes, text, passing, score):
    response = Response(text, source_nodes=nodes)
    result = FlorenceVerifier(rag).evaluate_response("How high is it?", response)
    assert (result.passing, result.score, result.response) == (passing, score, text)
    assert text[:-1] in result.feedback


async def test_claims_are_added_to_the_metadata_of_a_response(rag, nodes):
    verifier = FlorenceVerifier(rag)
    response = verifier.postprocess_response(Response(FALSE, source_nodes=nodes, metadata={"kept": 1}))
    assert response.metadata["kept"] == 1
    (claim,) = response.metadata["claims"]
    assert (claim["verdict"], claim["citation"]["id"]) == ("contradicted", "note")
    assert not (await verifier.aevaluate_response(None, response)).passing
    assert (await verifier.aevaluate(response=TRUE, ids=["note"])).passing
    with pytest.raises(InputError, match="give response and ids"):
        await verifier.aevaluate(response=TRUE)
