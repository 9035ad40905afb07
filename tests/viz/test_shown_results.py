"""`show` takes what the plug-ins and the tools return."""

import pytest
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from llama_index.core.schema import NodeWithScore, TextNode

from florence_rag.errors import InputError
from florence_rag.tools import AskImage, SearchImages
from florence_rag.viz import show


def test_documents_nodes_and_tool_results_are_shown_as_their_hits(rag):
    hit = rag.search("blue", k=1)[0]
    document = Document("text", id=hit.id, metadata={"score": hit.score})
    node = NodeWithScore(node=TextNode(id_=hit.id, text="text"), score=hit.score)
    for shown in (document, [document], node, [node]):
        assert show(rag, shown).html() == show(rag, hit).html()
    result = SearchImages(rag)(query="blue", k=1)
    message = ToolMessage("text", tool_call_id="1", artifact=result.artifact)
    for shown in (result, result.artifact, message):
        assert [each.id for each in show(rag, shown).results] == [hit.id]


def test_the_artifact_of_an_answer_is_shown_with_the_answer(rag):
    hit = rag.search("blue", k=1)[0]
    result = AskImage(rag)(image=hit.id, question="What color is it?")
    gallery = show(rag, result.artifact)
    assert gallery.answer.answer == "blue"
    assert gallery.results[0].id == hit.id and "<img" in gallery.html()


@pytest.mark.parametrize("shown", [5, "text", {}, {"hits": [{}]}, {"citations": [{"id": "x"}]}, [None]])
def test_anything_else_is_refused(rag, shown):
    with pytest.raises(InputError, match="cannot be shown"):
        show(rag, shown)


def test_a_document_of_another_index_is_named(rag):
    with pytest.raises(InputError, match="is not in this index"):
        show(rag, Document("text", id="0" * 32))
